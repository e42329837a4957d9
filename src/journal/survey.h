#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/digest.h"
#include "journal/state.h"
#include "pool/pool.h"

namespace tidemark::journal {

// What the blocks of a part of a log volume should be. load() reads the frames there and keeps a checksum for
// each block of payload and a digest for each of the others (all blocks that end in their own CRC32C have the
// same one); look() answers from memory, and holds what it kept against what the journal is by
// then:
//
//  - a durable frame is not written again while its segment has the same generation, so its blocks are known
//    for as long as that is in use;
//  - a segment that was free is nobody's until it is taken, which gives it a generation that did not exist
//    when the survey was made; what lies behind the end of the order in its segment is nobody's until the end
//    has moved. Both are known before anything is written there;
//  - of the superblocks the journal knows itself what it wrote, and nothing while it writes one.
//
// Of everything else it knows nothing: frames that are not durable, segments that were freed since it was
// made, blocks whose frame no member has whole.
//
// Nothing is written for it. May outlive the journal, but for load(); reactor thread only.
class JournalSurvey final : public pool::LogVolumeSurvey {
 public:
  // Of [begin, end) of a further log volume, or of the first (0).
  JournalSurvey(State& state, LuNumber volume, DiskOffset begin, DiskOffset end);
  io::Task<void> load();
  pool::Knowledge look(DiskOffset offset, Bytes block) const override;

 private:
  // Of a segment that lies there, in part or whole.
  struct Part {
    std::uint32_t index = 0;
    bool is_free = false;
    std::uint64_t generation = 0;   // 0: it is not in use
    std::uint32_t first_block = 0;  // of the segment: what lies there begins with it
    std::uint32_t end_block = 0;
    std::vector<std::optional<std::uint32_t>> checksums{};  // of payload, from `first_block` on
    std::map<std::uint32_t, Digest> digests{};              // of the other blocks of frames
  };
  struct Volume {
    std::uint32_t first_segment = 0;
    std::uint32_t segment_count = 0;
    std::uint64_t segments_offset = 0;
    bool operator==(const Volume&) const = default;
  };

  std::optional<Volume> volume() const;
  const Segment* segment_of(const Part& part) const;
  static void note_checksum(Part& part, std::uint32_t block, std::uint32_t checksum);
  static void note_content(Part& part, std::uint32_t block, Bytes content);
  io::Task<void> find_superblock(std::uint32_t slot);
  io::Task<void> walk(Part* part);
  Place walk_from(const Part& part) const;
  std::optional<Place> known_frame_after(Place place) const;
  io::Task<Result<Buffer>> read(const Part* part, Place place, std::uint32_t blocks, std::uint32_t end);
  io::Task<Result<Frame>> read_frame(const Part* part, Place place, std::uint32_t end);
  io::Task<Result<Frame>> complete_frame(const Part* part, Place place, Buffer first, std::uint32_t end);
  io::Task<void> note_frame(Part* part, const Frame* frame);
  io::Task<void> note_snapshot_part(Part* part, const Frame* frame);
  pool::Knowledge nobodys(Bytes block) const;
  bool is_still_free(const Part& part) const;
  bool is_behind_the_end(const Segment& segment, std::uint32_t block) const;
  pool::Knowledge look_at_superblock(std::uint32_t slot, Bytes block) const;

  State* const state_;
  const std::weak_ptr<const bool> alive_;
  const LuNumber number_;
  const std::uint64_t next_generation_;  // when it was made
  std::optional<Volume> volume_;         // likewise; none: the journal has no such log volume
  std::uint32_t first_part_ = 0;         // by its place on the log volume
  std::vector<Part> parts_;
  std::uint32_t slots_end_ = 0;  // how many of the superblocks lie there
  // Of those that were not written since the journal was opened: what was found of them.
  std::array<Buffer, 2> superblocks_{};
  // What was read last.
  Place window_begin_{};
  Buffer window_{};
};

}  // namespace tidemark::journal
