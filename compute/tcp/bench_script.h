#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ds::compute::tcp {

/// What every connection of a load says, and has to be told: a list of numbers over and over. Both
/// streams are periods of one text, so that a connection sends slices of it, and checks every byte
/// that comes, without making or parsing anything. Made once, constant during the run.
class BenchScript {
 public:
  /// `numbers` must not be empty. `slice_max`: how many numbers are sent at once at most.
  BenchScript(const std::vector<std::uint64_t>& numbers, bool bare, bool echo,
              std::size_t slice_max);

  /// A place in one of the streams: after how many numbers of the period, and at which byte.
  struct Place {
    std::size_t item = 0;
    std::size_t byte = 0;
  };

  /// The next `count` questions, from `place` on, which is moved. REQUIRES: count <= slice_max.
  std::string_view Questions(Place* place, std::size_t count) const;
  /// Whether `bytes` are what comes next from `place` on, which is moved; `*answers`: how many end
  /// in them.
  bool CheckAnswers(std::string_view bytes, Place* place, std::size_t* answers) const;

 private:
  struct Stream {
    std::string text;               ///< the period, and more of it for slices
    std::vector<std::size_t> ends;  ///< of each item of a period
  };
  Stream questions_;
  Stream answers_;
};

}  // namespace ds::compute::tcp
