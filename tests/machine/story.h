#pragma once

#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "real_node.h"

namespace tidemark {

inline constexpr std::array<const char*, 2> kVolumes = {"data", "log"};

// What both volumes hold: a number for each block.
using Image = std::array<std::array<std::uint32_t, kVolumeBlocks>, kVolumes.size()>;

inline Buffer blocks_of(std::uint32_t value, std::uint64_t count) {
  Buffer data = Buffer::allocate(count * kBlockSizeBytes);
  for (std::size_t at = 0; at < data.size(); at += sizeof value)
    std::memcpy(data.data() + at, &value, sizeof value);
  return data;
}

// One request of a story, and the image when it has taken effect.
struct Deed {
  enum class Kind : std::uint8_t { kWrite, kZero, kMark, kRestore } kind = Kind::kWrite;
  std::size_t volume = 0;
  BlockRange blocks{};
  bool durable = false;  // FUA; a mark and a restore are durable anyway
  std::string mark{};
  Image after{};
};

// Writes of all kinds to two volumes, marks, and a restore: `rounds` times.
inline std::vector<Deed> story_of(std::size_t rounds) {
  std::vector<Deed> deeds;
  std::vector<Image> marked;
  Image image{};
  const auto add = [&](Deed deed) {
    if (deed.kind == Deed::Kind::kWrite || deed.kind == Deed::Kind::kZero) {
      for (std::uint64_t block = deed.blocks.begin; block < deed.blocks.end; ++block) {
        const bool zero = deed.kind == Deed::Kind::kZero;
        image[deed.volume][block] = zero ? 0 : static_cast<std::uint32_t>(deeds.size() + 1);
      }
    } else if (deed.kind == Deed::Kind::kMark) {
      marked.push_back(image);
    } else {
      image = marked.back();
    }
    deed.after = image;
    deeds.push_back(std::move(deed));
  };
  for (std::size_t round = 0; round < rounds; ++round) {
    Deed deed;
    deed.blocks = {round % 4, round % 4 + 3};
    add(deed);
    deed.volume = 1;
    deed.durable = true;
    add(deed);
    deed.kind = Deed::Kind::kMark;
    deed.mark = "m" + std::to_string(round);
    add(deed);
    deed.kind = Deed::Kind::kZero;
    deed.durable = round % 2 == 0;
    deed.blocks = {2, 4};
    add(deed);
    deed.kind = Deed::Kind::kWrite;
    deed.volume = 0;
    deed.durable = false;
    deed.blocks = {0, kVolumeBlocks};
    add(deed);
    if (round % 3 == 2) {
      deed.kind = Deed::Kind::kRestore;
      deed.mark = "m" + std::to_string(round);
      add(deed);
    }
  }
  return deeds;
}

// One export for each volume.
using Targets = std::array<std::unique_ptr<nbd::BlockTarget>, kVolumes.size()>;

inline Result<Targets> open_volumes(RealNode& node, const std::string& point = "") {
  Targets targets;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    TM_TRY_ASSIGN(targets[i],
                  node.run(node.node().open(std::string(kGroup) + "/" + kVolumes[i] + point, "story")));
  }
  return targets;
}

inline Result<void> carry_out(RealNode& node, Targets& targets, std::uint32_t number, const Deed& deed) {
  const std::uint64_t offset = deed.blocks.begin * kBlockSizeBytes;
  const std::uint64_t length = deed.blocks.count() * kBlockSizeBytes;
  switch (deed.kind) {
    case Deed::Kind::kWrite: {
      Buffer data = blocks_of(number, deed.blocks.count());
      return node.run(targets[deed.volume]->write(offset, std::move(data), deed.durable));
    }
    case Deed::Kind::kZero:
      return node.run(targets[deed.volume]->write_zeroes(offset, length, false, deed.durable));
    case Deed::Kind::kMark: {
      control::MarkCreateRequest request;
      request.group = kGroup;
      request.id = deed.mark;
      TM_TRY(node.run(node.node().mark_create(request)));
      return {};
    }
    case Deed::Kind::kRestore: {
      control::RestoreRequest request;
      request.group = kGroup;
      request.point = deed.mark;
      targets = {};
      TM_TRY(node.run(node.node().restore(request)));
      TM_TRY_ASSIGN(targets, open_volumes(node));
      return {};
    }
  }
  return {};
}

// What the volumes hold; a block that is not one number all over, or is none of the story's, is UINT32_MAX.
inline Result<Image> look_at(RealNode& node, const std::string& point = "") {
  TM_TRY_ASSIGN(Targets targets, open_volumes(node, point));
  Image image{};
  for (std::size_t volume = 0; volume < targets.size(); ++volume) {
    Buffer data = Buffer::allocate(kVolumeBlocks * kBlockSizeBytes);
    TM_TRY(node.run(targets[volume]->read(0, data)));
    for (std::uint64_t block = 0; block < kVolumeBlocks; ++block) {
      const std::byte* const bytes = data.data() + block * kBlockSizeBytes;
      std::uint32_t value = 0;
      std::memcpy(&value, bytes, sizeof value);
      const Buffer same = blocks_of(value, 1);
      if (std::memcmp(bytes, same.data(), kBlockSizeBytes) != 0) value = UINT32_MAX;
      image[volume][block] = value;
    }
  }
  return image;
}

}  // namespace tidemark
