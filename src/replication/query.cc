#include "replication/query.h"

#include <algorithm>

#include "base/crc32c.h"
#include "base/digest.h"
#include "base/log_field.h"
#include "replication/pairs.h"
#include "replication/pairs_entry.h"

namespace tidemark::replication {
namespace {

constexpr Duration kAnswerTimeout = Duration::seconds(60);
// Who asked and says nothing more is hung up on.
constexpr Duration kIdleTimeout = Duration::seconds(60);
// Somebody looks at the screen.
constexpr Duration kWindowTimeout = Duration::seconds(2);
constexpr std::size_t kPinsMax = 16;  // resolved points of one connection

format::Answer failed(const Error& error) {
  format::Answer answer;
  answer.error_code = static_cast<std::uint16_t>(error.code);
  answer.error_message = error.message;
  return answer;
}

struct Reply {
  format::Answer answer{};
  Buffer blocks{};
};

Result<void> check_asked(const group::Group& group, const format::Query& query, std::uint64_t blocks_max) {
  std::uint64_t size_bytes = 0;
  for (const group::VolumeShape& shape : group.state().shape_at(query.at)) {
    if (shape.id == query.volume) size_bytes = shape.size_bytes;
  }
  const bool fits = query.blocks.count() > 0 && query.blocks.count() <= blocks_max &&
                    query.blocks.end * kBlockSizeBytes <= size_bytes;
  if (fits) return {};
  return fail(ErrorCode::kInvalid, "the blocks that were asked for lie outside of the volume");
}

io::Task<Result<std::vector<std::uint32_t>>> read_checksums(group::Group& group, VolumeId volume, LogId at,
                                                            BlockRange blocks, BlockHash hash) {
  TM_CO_TRY(group.check_comparable(at));
  const Buffer bytes = Buffer::allocate(blocks.count() * kBlockSizeBytes);
  const std::uint64_t offset = blocks.begin * kBlockSizeBytes;
  TM_CO_TRY(co_await group.data().read(volume, group.path_to(at), offset, bytes, false));
  std::vector<std::uint32_t> checksums;
  for (std::uint64_t begin = 0; begin < bytes.size(); begin += kBlockSizeBytes) {
    const Bytes block = Bytes(bytes).subspan(begin, kBlockSizeBytes);
    if (hash == BlockHash::kCrc32c) {
      checksums.push_back(crc32c(block));
    } else {
      const Digest digest = digest_of(block);
      checksums.insert(checksums.end(), digest.begin(), digest.end());
    }
  }
  co_return checksums;
}

bool is_of_the_block(const Error& error) {
  return error.code == ErrorCode::kDamaged || error.code == ErrorCode::kIo;
}

io::Task<Result<Reply>> answer_query(group::Group& group, format::Query query) {
  Reply reply;
  reply.answer.done = true;
  switch (query.kind) {
    case format::QueryKind::kResolve: {
      if (query.gives_way) {
        TM_CO_TRY_ASSIGN(reply.answer.at, group.points().comparable(query.point));
      } else {
        TM_CO_TRY_ASSIGN(const group::ResolvedPoint point,
                         co_await group.points().resolve(query.point, query.before));
        reply.answer.at = point.at;
        reply.answer.timer = point.timer;
      }
      for (const group::VolumeShape& shape : group.state().shape_at(reply.answer.at)) {
        if (reply.answer.volumes.size() == format::kLinkUnitsMax) break;
        reply.answer.volumes.push_back({shape.id, shape.name, shape.size_bytes});
      }
      co_return reply;
    }
    case format::QueryKind::kDiffering: {
      TM_CO_TRY(group.check_readable(query.at));
      TM_CO_TRY(group.check_readable(query.from));
      if (query.blocks.count() > kQueryStepBlocks)
        co_return fail(ErrorCode::kInvalid, "too much is asked for at once");
      auto runs =
          co_await group.diff(query.volume, query.from, query.at, query.blocks, format::kQueryRunsMax);
      if (!runs.ok()) co_return std::move(runs).error();
      for (const group::ChangedRun& run : *runs) reply.answer.runs.push_back(run.blocks);
      co_return reply;
    }
    case format::QueryKind::kBlocks: {
      TM_CO_TRY(group.check_readable(query.at));
      TM_CO_TRY(check_asked(group, query, kQueryBlocksMax));
      reply.blocks = Buffer::allocate(query.blocks.count() * kBlockSizeBytes);
      TM_CO_TRY(co_await group.data().read(query.volume, group.path_to(query.at),
                                           query.blocks.begin * kBlockSizeBytes, reply.blocks, false));
      reply.answer.checksum = crc32c(reply.blocks);
      co_return reply;
    }
    case format::QueryKind::kAllocated: {
      TM_CO_TRY(group.check_comparable(query.at));
      TM_CO_TRY(check_asked(group, query, kQueryStepBlocks));
      TM_CO_TRY_ASSIGN(reply.answer.runs, co_await allocated_at(group, query.volume, query.at, query.blocks));
      co_return reply;
    }
    case format::QueryKind::kChecksums:
    case format::QueryKind::kDigests: {
      const bool digests = query.kind == format::QueryKind::kDigests;
      TM_CO_TRY(group.check_comparable(query.at));
      TM_CO_TRY(check_asked(group, query, digests ? format::kQueryDigestsMax : format::kQueryChecksumsMax));
      TM_CO_TRY_ASSIGN(BlockChecksums found,
                       co_await checksums_at(group, query.volume, query.at, query.blocks,
                                             digests ? BlockHash::kDigest : BlockHash::kCrc32c));
      reply.answer.checksums = std::move(found.checksums);
      reply.answer.runs = std::move(found.unreadable);
      co_return reply;
    }
    case format::QueryKind::kWindow:
      reply.answer.window = window_of(group);
      co_return reply;
  }
  co_return fail(ErrorCode::kInvalid, "a question that is none");
}

// Whoever asked hears that the question is being worked on.
class Pings {
 public:
  Pings(io::Scheduler& scheduler, std::shared_ptr<Link> link)
      : scheduler_(scheduler), link_(std::move(link)), ended_(scheduler), tasks_(scheduler) {
    tasks_.spawn(send());
  }
  // A message that was begun is sent to its end.
  io::Task<void> end() {
    wanted_ = false;
    ended_.wake_all();
    co_await tasks_.join();
  }

 private:
  io::Task<void> send() {
    while (wanted_) {
      const bool is_over = co_await ended_.wait_until(scheduler_.now() + kHeartbeatInterval);
      if (is_over) co_return;
      if (!(co_await link_->send(format::LinkMessage::kPing, {})).ok()) co_return;
    }
  }

  io::Scheduler& scheduler_;
  const std::shared_ptr<Link> link_;
  bool wanted_ = true;
  io::WaitQueue ended_;
  io::TaskScope tasks_;
};

io::Task<Result<Reply>> answer_and_ping(io::Scheduler& scheduler, std::shared_ptr<Link> link,
                                        group::Group* group, format::Query query) {
  Pings pings(scheduler, std::move(link));
  auto found = co_await answer_query(*group, std::move(query));
  co_await pings.end();
  co_return found;
}

Result<format::Answer> answer_of(const Message& message) {
  TM_TRY_ASSIGN(format::Answer answer, format::decode_answer(message.body));
  if (!answer.done) return fail(static_cast<ErrorCode>(answer.error_code), answer.error_message);
  return answer;
}

}  // namespace

io::Task<Result<BlockChecksums>> checksums_at(group::Group& group, VolumeId volume, LogId at,
                                              BlockRange blocks, BlockHash hash) {
  BlockChecksums out;
  const std::uint64_t words = words_of(hash);
  out.checksums.resize(blocks.count() * words);
  // What cannot be read at once is halved until it is known which blocks it is.
  std::vector<BlockRange> left{blocks};
  while (!left.empty()) {
    const BlockRange part = left.back();
    left.pop_back();
    auto read = co_await read_checksums(group, volume, at, part, hash);
    if (read.ok()) {
      std::copy(read->begin(), read->end(),
                out.checksums.begin() + static_cast<std::ptrdiff_t>((part.begin - blocks.begin) * words));
      continue;
    }
    if (!is_of_the_block(read.error())) co_return std::move(read).error();
    if (part.count() > 1) {
      const std::uint64_t middle = part.begin + part.count() / 2;
      left.push_back({middle, part.end});
      left.push_back({part.begin, middle});
    } else if (!out.unreadable.empty() && out.unreadable.back().end == part.begin) {
      ++out.unreadable.back().end;
    } else {
      out.unreadable.push_back(part);
    }
  }
  co_return out;
}

io::Task<Result<std::vector<BlockRange>>> allocated_at(group::Group& group, VolumeId volume, LogId at,
                                                       BlockRange blocks) {
  std::vector<BlockRange> out;
  const std::uint64_t end = blocks.end * kBlockSizeBytes;
  for (std::uint64_t offset = blocks.begin * kBlockSizeBytes;
       offset < end && out.size() < format::kQueryRunsMax;) {
    TM_CO_TRY(group.check_comparable(at));
    TM_CO_TRY_ASSIGN(const std::vector<group::AllocationRun> runs,
                     co_await group.data().allocation(volume, group.path_to(at), offset, end - offset,
                                                      format::kQueryRunsMax - out.size()));
    for (const group::AllocationRun& run : runs) {
      const BlockRange found{offset / kBlockSizeBytes, (offset + run.length_bytes) / kBlockSizeBytes};
      offset += run.length_bytes;
      if (!run.zero) out.push_back(found);
    }
  }
  co_return out;
}

format::GroupWindow window_of(const group::Group& group) {
  format::GroupWindow window;
  window.floor = group.local().floor;
  window.floor_timer = group.local().floor_timer;
  window.newest = group.takeover_point();
  if (const index::EpochInfo* info = group.state().epochs().find(window.newest.epoch())) {
    window.newest_timer = info->last_timer;
  }
  const journal::JournalStatus status = group.journal().status();
  window.journal_bytes = status.size_bytes;
  window.journal_used_bytes = status.used_bytes;
  if (const std::optional<group::Mark> mark = group.state().last_mark()) {
    window.last_mark = mark->id;
    window.last_mark_at = mark->at;
  }
  return window;
}

io::Task<Result<format::GroupWindow>> PeerQuery::window() {
  format::Query query;
  query.kind = format::QueryKind::kWindow;
  TM_CO_TRY_ASSIGN(const Message message, co_await ask(std::move(query), 5));
  TM_CO_TRY_ASSIGN(const format::Answer answer, answer_of(message));
  if (!answer.window.has_value()) co_return fail(ErrorCode::kInvalid, "the peer does not tell its window");
  co_return *answer.window;
}

io::Task<Result<format::GroupWindow>> Pairs::peer_window(std::string name) {
  const Entry* entry = find(name);
  if (entry == nullptr) co_return no_pair(name);
  const bool link_up = entry->sender != nullptr ? entry->sender->link_up() : entry->link != nullptr;
  if (!link_up) co_return fail(ErrorCode::kClosed, "the link is down");
  TM_CO_TRY_ASSIGN(std::shared_ptr<Link> link, co_await connect_to_ask(std::move(name), kWindowTimeout));
  PeerQuery query(std::move(link));
  co_return co_await query.window();
}

io::Task<Result<Message>> PeerQuery::ask(format::Query query, int pings_max) {
  std::vector<std::byte> body = format::encode_query(query);
  TM_CO_TRY(co_await link_->send(format::LinkMessage::kQuery, std::move(body)));
  while (true) {
    auto message = co_await link_->receive_while_heard(kAnswerTimeout, 1 << 20);
    if (message.ok() && message->type == format::LinkMessage::kPing && message->body.empty() &&
        pings_max-- > 0) {
      continue;  // it is at it
    }
    if (message.ok() && message->type != format::LinkMessage::kAnswer) {
      co_return fail(ErrorCode::kInvalid, "the peer answers with another message");
    }
    co_return message;
  }
}

io::Task<Result<format::Answer>> PeerQuery::resolve(std::string point, bool before, bool gives_way) {
  format::Query query;
  query.kind = format::QueryKind::kResolve;
  query.point = std::move(point);
  query.before = before;
  query.gives_way = gives_way;
  TM_CO_TRY_ASSIGN(const Message message, co_await ask(std::move(query)));
  co_return answer_of(message);
}

io::Task<Result<std::vector<BlockRange>>> PeerQuery::differing(VolumeId volume, LogId from, LogId at,
                                                               BlockRange blocks) {
  format::Query query;
  query.kind = format::QueryKind::kDiffering;
  query.volume = volume;
  query.from = from;
  query.at = at;
  query.blocks = blocks;
  TM_CO_TRY_ASSIGN(format::Answer answer, co_await ask_for_runs(std::move(query)));
  co_return std::move(answer.runs);
}

io::Task<Result<format::Answer>> PeerQuery::ask_for_runs(format::Query query) {
  const BlockRange blocks = query.blocks;
  TM_CO_TRY_ASSIGN(const Message message, co_await ask(std::move(query)));
  TM_CO_TRY_ASSIGN(format::Answer answer, answer_of(message));
  for (const BlockRange& run : answer.runs) {
    if (run.begin < blocks.begin || run.end > blocks.end) {
      co_return fail(ErrorCode::kInvalid, "the peer names blocks that were not asked for");
    }
  }
  co_return answer;
}

io::Task<Result<std::vector<BlockRange>>> PeerQuery::allocated(VolumeId volume, LogId at, BlockRange blocks) {
  format::Query query;
  query.kind = format::QueryKind::kAllocated;
  query.volume = volume;
  query.at = at;
  query.blocks = blocks;
  TM_CO_TRY_ASSIGN(format::Answer answer, co_await ask_for_runs(std::move(query)));
  co_return std::move(answer.runs);
}

io::Task<Result<BlockChecksums>> PeerQuery::checksums(VolumeId volume, LogId at, BlockRange blocks,
                                                      BlockHash hash) {
  format::Query query;
  query.kind = hash == BlockHash::kCrc32c ? format::QueryKind::kChecksums : format::QueryKind::kDigests;
  query.volume = volume;
  query.at = at;
  query.blocks = blocks;
  TM_CO_TRY_ASSIGN(format::Answer answer, co_await ask_for_runs(std::move(query)));
  if (answer.checksums.size() != blocks.count() * words_of(hash)) {
    co_return fail(ErrorCode::kInvalid, "the peer answers with checksums of other blocks");
  }
  co_return BlockChecksums{std::move(answer.checksums), std::move(answer.runs)};
}

io::Task<Result<Buffer>> PeerQuery::blocks(VolumeId volume, LogId at, BlockRange blocks) {
  format::Query query;
  query.kind = format::QueryKind::kBlocks;
  query.volume = volume;
  query.at = at;
  query.blocks = blocks;
  TM_CO_TRY_ASSIGN(Message message, co_await ask(std::move(query)));
  TM_CO_TRY_ASSIGN(const format::Answer answer, answer_of(message));
  if (message.payload.size() != blocks.count() * kBlockSizeBytes ||
      crc32c(message.payload) != answer.checksum) {
    co_return fail(ErrorCode::kDamaged, "blocks came damaged from the peer");
  }
  co_return std::move(message.payload);
}

// The side that is asked. What was resolved stays readable as long as the connection lasts.
io::Task<void> Pairs::serve_queries(std::shared_ptr<Link> link, format::Hello hello) {
  const std::string name = hello.group_name;
  const std::shared_ptr<group::Group> group = host_.hold_group(name);
  const Entry* entry = find(name);
  Result<void> accepted;
  if (group == nullptr || entry == nullptr || entry->record.peer_node != hello.node ||
      group->identity() != hello.group) {
    accepted = no_such_pair(name);
  }
  if (accepted.ok()) {
    Entry* asked = find(name);
    asked->note_asker(link);
    link->agree_on(hello.compression, environment_.offload);
    link->count_in(asked->traffic);
  }
  auto sent = co_await answer_request(link, hello, accepted);
  std::vector<group::PointPin> pins;
  group::PointPin yields;
  while (sent.ok() && accepted.ok() && !stopping_) {
    auto message = co_await link->receive_within(kIdleTimeout, 1 << 16);
    if (!message.ok() || message->type != format::LinkMessage::kQuery) co_return;
    auto query = format::decode_query(message->body);
    if (!query.ok()) co_return;
    // The pair may have been dissolved since.
    const Entry* known = find(name);
    if (known == nullptr || known->group != group.get() || known->record.peer_node != hello.node) co_return;
    const bool resolves = query->kind == format::QueryKind::kResolve;
    const bool gives_way = query->gives_way;
    auto found =
        co_await answer_and_ping(environment_.scheduler, link, group.get(), std::move(query).value());
    Reply reply;
    if (found.ok()) {
      reply = std::move(found).value();
      if (resolves && gives_way) yields = group->pin_that_yields(reply.answer.at);
      // Who asks again needs the points before no longer, sooner or later.
      if (resolves && !gives_way) {
        if (pins.size() == kPinsMax) pins.erase(pins.begin());
        pins.push_back(group->pin(reply.answer.at));
      }
    } else {
      reply.answer = failed(found.error());
    }
    std::vector<std::byte> answered = format::encode_answer(reply.answer);
    sent = co_await link->send(format::LinkMessage::kAnswer, std::move(answered), std::move(reply.blocks));
  }
}

}  // namespace tidemark::replication
