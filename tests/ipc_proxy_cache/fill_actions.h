#pragma once

#include <fmt/format.h>

#include <string>
#include <variant>

#include "ipc_proxy_cache/core/fill_table.h"

namespace ds::ipc_proxy_cache {

inline const char* NameOf(FillEnd end) {
  switch (end) {
    case FillEnd::kComplete:
      return "complete";
    case FillEnd::kFound:
      return "found";
    case FillEnd::kNegative:
      return "negative";
    case FillEnd::kBroken:
      return "broken";
    case FillEnd::kPass:
      return "pass";
  }
  return "?";
}

/// "1: Lead f1 t1 r7": the link that is told, what, of which fill, in which term, of which request.
inline std::string Describe(const FillAction& action) {
  struct Describer {
    static std::uint64_t N(LinkId id) { return static_cast<std::uint64_t>(id); }
    static std::uint64_t N(FillId id) { return static_cast<std::uint64_t>(id); }
    static std::uint64_t N(Term term) { return static_cast<std::uint64_t>(term); }
    static std::uint64_t N(RequestId id) { return static_cast<std::uint64_t>(id); }
    std::string operator()(const fill_action::Found& a) const {
      return fmt::format("{}: Found r{}", N(a.link), N(a.request));
    }
    std::string operator()(const fill_action::Pass& a) const {
      return fmt::format("{}: Pass r{}", N(a.link), N(a.request));
    }
    std::string operator()(const fill_action::Lead& a) const {
      return fmt::format("{}: Lead f{} t{} r{}", N(a.link), N(a.fill), N(a.term), N(a.request));
    }
    std::string operator()(const fill_action::Follow& a) const {
      return fmt::format("{}: Follow f{} r{}", N(a.link), N(a.fill), N(a.request));
    }
    std::string operator()(const fill_action::Begun& a) const {
      return fmt::format("{}: Begun f{}", N(a.link), N(a.fill));
    }
    std::string operator()(const fill_action::Progress& a) const {
      return fmt::format("{}: Progress f{} at {}", N(a.link), N(a.fill), a.filled);
    }
    std::string operator()(const fill_action::Promoted& a) const {
      return fmt::format("{}: Promoted f{} t{}{}", N(a.link), N(a.fill), N(a.term),
                         a.begun ? fmt::format(" at {}", a.filled) : "");
    }
    std::string operator()(const fill_action::Demoted& a) const {
      return fmt::format("{}: Demoted f{}", N(a.link), N(a.fill));
    }
    std::string operator()(const fill_action::Ended& a) const {
      return fmt::format("{}: Ended f{} {}", N(a.link), N(a.fill), NameOf(a.end));
    }
    std::string operator()(const fill_action::CloseFill& a) const {
      return fmt::format("CloseFill f{} {}{}", N(a.fill), NameOf(a.end),
                         a.publish ? ", publish" : "");
    }
    std::string operator()(const fill_action::EndLink& a) const {
      return fmt::format("{}: EndLink, {}", N(a.link), a.reason);
    }
  };
  return std::visit(Describer{}, action);
}

}  // namespace ds::ipc_proxy_cache
