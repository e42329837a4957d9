#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <string>

#include "base/assert.h"

namespace tidemark {

// An integer that names one kind of thing. Ids of different kinds neither compare nor convert.
template <typename Tag, typename Representation>
struct StrongId {
  Representation value = 0;
  constexpr auto operator<=>(const StrongId&) const = default;
};

// A volume within its group. Numbers are never used twice in a group's life. 0 names none.
using VolumeId = StrongId<struct VolumeIdTag, std::uint32_t>;
// A logical unit of a node; never used twice in a node's life. 0 names none.
using LuNumber = StrongId<struct LuNumberTag, std::uint32_t>;
// A pool of a node, counted from 0; never used twice in a node's life.
using PoolNumber = StrongId<struct PoolNumberTag, std::uint32_t>;
// A 4 KiB block of a volume, counted from 0.
using BlockIndex = StrongId<struct BlockIndexTag, std::uint64_t>;
// A byte address on a disk, a RAID group or a logical unit; 4 KiB aligned wherever I/O is done.
using DiskOffset = StrongId<struct DiskOffsetTag, std::uint64_t>;

inline constexpr std::uint64_t kBlockSizeBytes = 4096;

// Blocks [begin, end) of one volume.
struct BlockRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  constexpr std::uint64_t count() const { return end - begin; }
  constexpr bool empty() const { return begin >= end; }
  constexpr bool overlaps(const BlockRange& other) const { return begin < other.end && other.begin < end; }
  constexpr auto operator<=>(const BlockRange&) const = default;
};

// 128 random bits that name a node, a group, an epoch, a disk or a RAID group for ever.
template <typename Tag>
struct Identity {
  std::array<std::uint8_t, 16> bytes{};
  constexpr auto operator<=>(const Identity&) const = default;
  bool is_zero() const { return *this == Identity{}; }
  // 32 lower-case hexadecimal digits.
  std::string to_string() const {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    text.reserve(32);
    for (std::uint8_t byte : bytes) {
      text.push_back(kDigits[byte >> 4]);
      text.push_back(kDigits[byte & 15]);
    }
    return text;
  }
};
using NodeIdentity = Identity<struct NodeIdentityTag>;
using GroupIdentity = Identity<struct GroupIdentityTag>;
using EpochIdentity = Identity<struct EpochIdentityTag>;
using DiskIdentity = Identity<struct DiskIdentityTag>;
using RaidIdentity = Identity<struct RaidIdentityTag>;

// A node that holds both sides of a pair tells its two groups apart: the copy is the twin of the group, and
// the group that of the copy. Entries of either order lie in both.
constexpr GroupIdentity twin_of(GroupIdentity group) {
  group.bytes.back() = static_cast<std::uint8_t>(~group.bytes.back());
  return group;
}
constexpr bool is_of_order(GroupIdentity entry, GroupIdentity group) {
  return entry == group || entry == twin_of(group);
}

// A stretch of a group's order with one writer: 24 bits. A child's number is always greater than its
// parent's. 0 names none.
using Epoch = StrongId<struct EpochTag, std::uint32_t>;
inline constexpr std::uint32_t kEpochMax = (1u << 24) - 1;
inline constexpr std::uint64_t kSequenceMax = (1ull << 40) - 1;

// The name of a log entry in its group's order: 24 bits of epoch, 40 bits of sequence, shown
// "epoch.sequence". Sequences start at 1 in each epoch; sequence 0 of the first epoch (1.0) is the
// empty group before its first entry. Comparing two LogIds of different epochs says nothing about
// their order in time; that is the epoch tree's business.
class LogId {
 public:
  constexpr LogId() = default;
  constexpr LogId(Epoch epoch, std::uint64_t sequence)
      : value_((static_cast<std::uint64_t>(epoch.value) << 40) | sequence) {}
  static constexpr LogId from_raw(std::uint64_t raw) {
    LogId id;
    id.value_ = raw;
    return id;
  }
  constexpr Epoch epoch() const { return Epoch{static_cast<std::uint32_t>(value_ >> 40)}; }
  constexpr std::uint64_t sequence() const { return value_ & kSequenceMax; }
  constexpr std::uint64_t raw() const { return value_; }
  constexpr bool is_none() const { return value_ == 0; }
  constexpr LogId next() const {
    LogId id = *this;
    ++id.value_;
    return id;
  }
  constexpr LogId previous() const {
    LogId id = *this;
    --id.value_;
    return id;
  }
  constexpr auto operator<=>(const LogId&) const = default;
  std::string to_string() const { return std::to_string(epoch().value) + "." + std::to_string(sequence()); }

 private:
  std::uint64_t value_ = 0;
};
static_assert(sizeof(LogId) == 8);

}  // namespace tidemark

template <typename Tag, typename Representation>
struct std::hash<tidemark::StrongId<Tag, Representation>> {
  std::size_t operator()(const tidemark::StrongId<Tag, Representation>& id) const noexcept {
    return std::hash<Representation>{}(id.value);
  }
};
template <>
struct std::hash<tidemark::LogId> {
  std::size_t operator()(const tidemark::LogId& id) const noexcept {
    return std::hash<std::uint64_t>{}(id.raw());
  }
};
template <typename Tag>
struct std::hash<tidemark::Identity<Tag>> {
  std::size_t operator()(const tidemark::Identity<Tag>& id) const noexcept {
    std::size_t h = 0;
    for (std::size_t i = 0; i < 8; ++i) h = (h << 8) | id.bytes[i];
    return h;
  }
};
