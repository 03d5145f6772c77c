#include "compute/tcp/bench_script.h"

#include <algorithm>

#include "common/base/check.h"
#include "compute/core/number.h"

namespace ds::compute::tcp {

BenchScript::BenchScript(const std::vector<std::uint64_t>& numbers, bool bare, bool echo,
                         std::size_t slice_max) {
  CHECK(!numbers.empty());
  const auto add = [&](Stream* stream, const std::string& item) {
    stream->text += item;
    if (!bare) stream->text += '\n';
    stream->ends.push_back(stream->text.size());
  };
  std::size_t longest = 0;
  for (const std::uint64_t number : numbers) {
    const std::string text = std::to_string(number);
    add(&questions_, text);
    add(&answers_, echo ? text : IsPrime(number) ? "is prime" : "is not prime");
    longest = std::max(longest, text.size() + 1);
  }
  // A slice may begin anywhere in the period.
  const std::string period = questions_.text;
  const std::size_t size = period.size() + slice_max * longest;
  while (questions_.text.size() < size) questions_.text += period;
}

std::string_view BenchScript::Questions(Place* place, std::size_t count) const {
  const std::size_t begin = place->byte;
  const std::size_t items = questions_.ends.size();
  const std::size_t periods = (place->item + count) / items;
  place->item = (place->item + count) % items;
  place->byte = place->item == 0 ? 0 : questions_.ends[place->item - 1];
  const std::size_t end = periods * questions_.ends.back() + place->byte;
  return std::string_view(questions_.text).substr(begin, end - begin);
}

bool BenchScript::CheckAnswers(std::string_view bytes, Place* place, std::size_t* answers) const {
  *answers = 0;
  while (!bytes.empty()) {
    const std::size_t size = std::min(bytes.size(), answers_.text.size() - place->byte);
    if (bytes.substr(0, size) != std::string_view(answers_.text).substr(place->byte, size)) {
      return false;
    }
    place->byte += size;
    while (place->item < answers_.ends.size() && answers_.ends[place->item] <= place->byte) {
      ++place->item;
      ++*answers;
    }
    if (place->item == answers_.ends.size()) *place = {};
    bytes.remove_prefix(size);
  }
  return true;
}

}  // namespace ds::compute::tcp
