#include "replication/query.h"

#include <algorithm>

#include "base/crc32c.h"
#include "base/log_field.h"
#include "replication/pairs.h"
#include "replication/pairs_entry.h"

namespace tidemark::replication {
namespace {

constexpr Duration kAnswerTimeout = Duration::seconds(60);
// Who asked and says nothing more is hung up on.
constexpr Duration kIdleTimeout = Duration::seconds(60);
constexpr std::uint64_t kBlocksMax = (1u << 20) / kBlockSizeBytes;  // in one answer
constexpr std::size_t kPinsMax = 16;                                // resolved points of one connection

format::Answer failed(const Error& error) {
  format::Answer answer;
  answer.error_code = static_cast<std::uint16_t>(error.code);
  answer.error_message = error.message;
  return answer;
}

io::Task<Result<PeerQuery::Reply>> answer_query(group::Group& group, format::Query query) {
  PeerQuery::Reply reply;
  reply.answer.done = true;
  switch (query.kind) {
    case format::QueryKind::kResolve: {
      auto point = co_await group.points().resolve(query.point, query.before);
      if (!point.ok()) co_return std::move(point).error();
      reply.answer.at = point->at;
      reply.answer.timer = point->timer;
      for (const group::VolumeShape& shape : group.state().shape_at(point->at)) {
        if (reply.answer.volumes.size() == format::kLinkUnitsMax) break;
        reply.answer.volumes.push_back({shape.id, shape.name, shape.size_bytes});
      }
      co_return reply;
    }
    case format::QueryKind::kDiffering: {
      TM_CO_TRY(group.check_readable(query.at));
      TM_CO_TRY(group.check_readable(query.from));
      auto runs =
          co_await group.diff(query.volume, query.from, query.at, query.blocks, format::kQueryRunsMax);
      if (!runs.ok()) co_return std::move(runs).error();
      for (const group::ChangedRun& run : *runs) reply.answer.runs.push_back(run.blocks);
      co_return reply;
    }
    case format::QueryKind::kBlocks: {
      TM_CO_TRY(group.check_readable(query.at));
      const bool fits = query.blocks.count() > 0 && query.blocks.count() <= kBlocksMax;
      std::uint64_t size_bytes = 0;
      for (const group::VolumeShape& shape : group.state().shape_at(query.at)) {
        if (shape.id == query.volume) size_bytes = shape.size_bytes;
      }
      if (!fits || query.blocks.end * kBlockSizeBytes > size_bytes) {
        co_return fail(ErrorCode::kInvalid, "the blocks that were asked for lie outside of the volume");
      }
      reply.blocks = Buffer::allocate(query.blocks.count() * kBlockSizeBytes);
      TM_CO_TRY(co_await group.data().read(query.volume, group.path_to(query.at),
                                           query.blocks.begin * kBlockSizeBytes, reply.blocks, false));
      reply.answer.checksum = crc32c(reply.blocks);
      co_return reply;
    }
  }
  co_return fail(ErrorCode::kInvalid, "a question that is none");
}

}  // namespace

io::Task<Result<PeerQuery::Reply>> PeerQuery::ask(format::Query query) {
  std::vector<std::byte> body = format::encode_query(query);
  TM_CO_TRY(co_await link_->send(format::LinkMessage::kQuery, std::move(body)));
  auto message = co_await link_->receive_within(kAnswerTimeout, 1 << 20);
  if (!message.ok()) co_return std::move(message).error();
  if (message->type != format::LinkMessage::kAnswer) {
    co_return fail(ErrorCode::kInvalid, "the peer answers with another message");
  }
  Reply reply;
  TM_CO_TRY_ASSIGN(reply.answer, format::decode_answer(message->body));
  if (!reply.answer.done) {
    co_return fail(static_cast<ErrorCode>(reply.answer.error_code), reply.answer.error_message);
  }
  reply.blocks = std::move(message->payload);
  const std::uint64_t expected_bytes =
      query.kind == format::QueryKind::kBlocks ? query.blocks.count() * kBlockSizeBytes : 0;
  if (reply.blocks.size() != expected_bytes ||
      (expected_bytes != 0 && crc32c(reply.blocks) != reply.answer.checksum)) {
    co_return fail(ErrorCode::kDamaged, "blocks came damaged from the peer");
  }
  co_return reply;
}

// The side that is asked. What was resolved stays readable as long as the connection lasts.
io::Task<void> Pairs::serve_queries(std::shared_ptr<Link> link, format::Hello hello) {
  const std::string name = hello.group_name;
  const std::shared_ptr<group::Group> group = host_.hold_group(name);
  const Entry* entry = find(name);
  format::Welcome answer;
  answer.node = self_.identity;
  answer.node_name = self_.name;
  answer.accepted = group != nullptr && entry != nullptr && entry->record.peer_node == hello.node &&
                    group->identity() == hello.group && !stopping_;
  if (!answer.accepted) {
    answer.error_code = static_cast<std::uint16_t>(ErrorCode::kNotFound);
    answer.error_message =
        "group '" + name + "' on " + self_.name + " is not of a pair with " + hello.node_name;
    host_.log("link-refused", name, log_field("reason", answer.error_message));
  }
  std::vector<std::byte> body = format::encode_welcome(answer);
  auto sent = co_await link->send(format::LinkMessage::kWelcome, std::move(body));
  std::vector<group::PointPin> pins;
  while (sent.ok() && answer.accepted && !stopping_) {
    auto message = co_await link->receive_within(kIdleTimeout, 1 << 16);
    if (!message.ok() || message->type != format::LinkMessage::kQuery) co_return;
    auto query = format::decode_query(message->body);
    if (!query.ok()) co_return;
    const bool resolves = query->kind == format::QueryKind::kResolve;
    auto found = co_await answer_query(*group, std::move(query).value());
    PeerQuery::Reply reply;
    if (found.ok()) {
      reply = std::move(found).value();
      if (resolves && pins.size() < kPinsMax) pins.push_back(group->pin(reply.answer.at));
    } else {
      reply.answer = failed(found.error());
    }
    std::vector<std::byte> answered = format::encode_answer(reply.answer);
    sent = co_await link->send(format::LinkMessage::kAnswer, std::move(answered), std::move(reply.blocks));
  }
}

}  // namespace tidemark::replication
