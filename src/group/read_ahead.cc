#include "group/read_ahead.h"

#include <algorithm>

#include "base/assert.h"

namespace tidemark::group {

bool ReadAhead::is_being_brought(BlockRange blocks) const {
  return std::ranges::any_of(under_way_, [&](const BlockRange& range) { return range.overlaps(blocks); });
}

io::Task<void> ReadAhead::wait_for(BlockRange blocks) {
  while (is_being_brought(blocks)) co_await ended_.wait();
}

// The one that goes on there, or the one that was quiet for longest.
ReadAhead::Stream& ReadAhead::stream_at(std::uint64_t begin) {
  const auto at = std::ranges::find_if(
      streams_, [&](const Stream& stream) { return stream.run > 0 && stream.next == begin; });
  if (at != streams_.end()) return *at;
  Stream& oldest = *std::ranges::min_element(streams_, {}, &Stream::used);
  oldest = Stream();
  return oldest;
}

BlockRange ReadAhead::note(BlockRange blocks, bool from_memory, std::uint64_t end,
                           std::uint64_t cache_blocks) {
  Stream& stream = stream_at(blocks.begin);
  stream.next = blocks.end;
  stream.run += blocks.count();
  stream.used = ++reads_;
  if (!from_memory) stream.is_on = true;
  const bool continues = stream.run > blocks.count();
  if (!stream.is_on || !continues || stream.run < kRunBlocksMin) return {};
  const std::uint64_t most = std::min(kBlocksMax, cache_blocks / 128);
  const std::uint64_t wanted = std::min(most, std::max(kBlocksMin, 2 * stream.run));
  const std::uint64_t begin = std::max(stream.ahead, blocks.end);
  // Half of it is left: in time, and not in small pieces.
  if (begin - blocks.end > wanted / 2) return {};
  const BlockRange range{begin, std::min(end, blocks.end + wanted)};
  if (range.begin >= range.end) return {};
  stream.ahead = range.end;
  under_way_.push_back(range);
  return range;
}

void ReadAhead::ended(BlockRange brought, bool from_memory) {
  const auto at = std::ranges::find(under_way_, brought);
  TM_ASSERT(at != under_way_.end());
  under_way_.erase(at);
  if (from_memory) {
    for (Stream& stream : streams_) {
      if (stream.ahead == brought.end) stream.is_on = false;
    }
  }
  ended_.wake_all();
}

}  // namespace tidemark::group
