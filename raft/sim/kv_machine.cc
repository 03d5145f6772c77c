#include "raft/sim/kv_machine.h"

#include <array>
#include <cstddef>

#include "common/base/check.h"

namespace ds::raft {
namespace {

/// A field that is no text of another: its length in one byte before it.
void Put(std::string* bytes, std::string_view field) {
  CHECK(field.size() < 256);
  bytes->push_back(static_cast<char>(field.size()));
  bytes->append(field);
}

std::optional<std::string_view> Take(std::string_view* bytes) {
  if (bytes->empty()) return std::nullopt;
  const std::size_t length = static_cast<unsigned char>(bytes->front());
  if (bytes->size() < 1 + length) return std::nullopt;
  const std::string_view field = bytes->substr(1, length);
  bytes->remove_prefix(1 + length);
  return field;
}

}  // namespace

std::string KvMachine::Encode(const sim::KvOp& op) {
  CHECK(op.kind == sim::KvOp::Kind::kPut || op.kind == sim::KvOp::Kind::kCompareAndSwap);
  const bool swap = op.kind == sim::KvOp::Kind::kCompareAndSwap;
  std::string bytes(1, !swap ? 'p' : (op.expected ? 's' : 'a'));
  Put(&bytes, op.key);
  Put(&bytes, op.value);
  if (op.expected) Put(&bytes, *op.expected);
  return bytes;
}

sim::KvResult KvMachine::Apply(std::string_view command) {
  CHECK(!command.empty(), "a command of Encode()");
  const char kind = command.front();
  command.remove_prefix(1);
  const auto key = Take(&command);
  const auto value = Take(&command);
  CHECK(key && value, "a command of Encode()");
  sim::KvResult result;
  if (kind == 'p') {
    values_[std::string(*key)] = *value;
    return result;
  }
  const std::optional<std::string_view> expected =
      kind == 's' ? Take(&command) : std::optional<std::string_view>();
  const auto found = values_.find(std::string(*key));
  result.done = found == values_.end() ? kind == 'a' : expected == found->second;
  if (*result.done) values_[std::string(*key)] = *value;
  return result;
}

std::optional<std::string> KvMachine::Get(const std::string& key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return std::nullopt;
  return found->second;
}

std::uint64_t KvMachine::digest() const {
  std::uint64_t digest = 0xcbf29ce484222325;
  const auto mix = [&digest](std::string_view text) {
    for (const char byte : text) {
      digest = (digest ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
    }
    digest = (digest ^ text.size()) * 0x100000001b3;
  };
  for (const auto& [key, value] : values_) {
    mix(key);
    mix(value);
  }
  return digest;
}

std::string KvMachine::Snapshot() const {
  std::string bytes = "kv";
  for (const auto& [key, value] : values_) {
    Put(&bytes, key);
    Put(&bytes, value);
  }
  return bytes;
}

absl::Status KvMachine::Load(std::string_view snapshot) {
  values_.clear();
  if (snapshot.empty()) return absl::OkStatus();  // what a new cluster begins with
  absl::Status damaged = Error(absl::StatusCode::kDataLoss, "load the snapshot: damaged");
  if (!snapshot.starts_with("kv")) return damaged;
  snapshot.remove_prefix(2);
  while (!snapshot.empty()) {
    const auto key = Take(&snapshot);
    const auto value = Take(&snapshot);
    if (!key || !value) {
      values_.clear();
      return damaged;
    }
    values_[std::string(*key)] = *value;
  }
  return absl::OkStatus();
}

}  // namespace ds::raft
