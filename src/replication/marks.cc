// Marks that are asked for at the secondary. In order with the data they can only be made by the primary;
// what is taken while it cannot be asked is provisional until it knows.

#include "base/log_field.h"
#include "replication/pairs.h"
#include "replication/pairs_entry.h"

namespace tidemark::replication {
namespace {

constexpr Duration kMarkTimeout = Duration::seconds(30);

Error unknown_outcome(const std::string& id, const std::string& why) {
  return fail(ErrorCode::kClosed, why + " before it was known whether mark '" + id +
                                      "' was made; `tidemark mark show` tells, once the link is up again");
}

}  // namespace

io::Task<Result<group::Mark>> Pairs::mark_at_secondary(std::string name, format::MarkRecord mark) {
  Entry* entry = find(name);
  if (entry == nullptr || entry->record.side != Side::kSecondary) {
    co_return fail(ErrorCode::kRefused,
                   "group '" + name + "' is not the secondary of a pair any more; ask again");
  }
  if (entry->record.state == PairState::kPair && entry->link != nullptr) {
    co_return co_await ask_for_mark(std::move(name), std::move(mark));
  }
  auto guard = co_await lock(name);
  entry = find(name);
  if (entry == nullptr || entry->record.side != Side::kSecondary || entry->record.state == PairState::kSsws) {
    co_return fail(ErrorCode::kRefused, "the pair of group '" + name + "' has just changed; ask again");
  }
  const std::shared_ptr<group::Group> group = host_.hold_group(name);
  if (group == nullptr) co_return fail(ErrorCode::kNotFound, "group '" + name + "' is gone");
  const LogId at = entry->held();
  auto taken = co_await group->add_provisional_mark(std::move(mark), at);
  if (taken.ok()) {
    host_.log("mark-provisional", name, log_field("id", taken->id) + " " + log_field("at", at.to_string()));
  }
  co_return taken;
}

// With the link up: the primary's next mark. The group may lose its pair at any moment.
io::Task<Result<group::Mark>> Pairs::ask_for_mark(std::string name, format::MarkRecord mark) {
  Entry* entry = find(name);
  const std::string id = mark.id;
  const std::uint64_t receiver = entry->receivers;
  const std::uint64_t number = ++marks_asked_;
  const std::shared_ptr<Link> link = entry->link;
  // It outlives the entry.
  const std::shared_ptr<group::Group> group = host_.hold_group(name);
  if (group == nullptr) co_return fail(ErrorCode::kNotFound, "group '" + name + "' is gone");
  io::WaitQueue& moved = group->changed();
  format::MarkRequest request;
  request.number = number;
  request.mark = std::move(mark);
  std::vector<std::byte> body = format::encode_mark_request(request);
  TM_CO_TRY(co_await link->send(format::LinkMessage::kMarkRequest, std::move(body)));
  const MonotonicTime due = environment_.scheduler.now() + kMarkTimeout;
  std::optional<format::MarkReply> reply;
  while (true) {
    entry = find(name);
    if (entry == nullptr || entry->receivers != receiver || !entry->receiving) {
      co_return unknown_outcome(id, "the link to the primary was lost");
    }
    if (!reply.has_value()) {
      if (const auto at = entry->mark_replies.find(number); at != entry->mark_replies.end()) {
        reply = std::move(at->second);
        entry->mark_replies.erase(at);
      }
    }
    if (reply.has_value() && !reply->done) {
      co_return fail(static_cast<ErrorCode>(reply->error_code),
                     entry->record.peer_name + ": " + reply->error_message);
    }
    if (reply.has_value() && entry->durable.raw() >= reply->entry.raw()) {
      const group::Mark* made = entry->group->state().find_mark(reply->id);
      if (made != nullptr) co_return *made;
      co_return fail(ErrorCode::kNotFound, "mark '" + reply->id + "' was deleted meanwhile");
    }
    if (environment_.scheduler.now() >= due) {
      co_return fail(ErrorCode::kTimeout, "mark '" + id +
                                              "' has not come within 30 seconds; `tidemark mark "
                                              "show` tells when it has");
    }
    (void)co_await moved.wait_until(due);
  }
}

// The primary's side.
io::Task<void> Pairs::make_asked_mark(std::string name, std::uint64_t sender, format::MarkRequest request) {
  Entry* entry = find(name);
  const std::shared_ptr<group::Group> group = host_.hold_group(name);
  if (group == nullptr || entry == nullptr || entry->sender == nullptr || entry->sender->number() != sender) {
    co_return;
  }
  format::MarkReply reply;
  reply.number = request.number;
  Result<group::Mark> made = fail(ErrorCode::kInvalid, "");
  if (group->held_back().has_value()) {
    made = *group->held_back();
  } else if (request.at.is_none()) {
    made = co_await group->create_mark(std::move(request.mark));
  } else {
    made = co_await group->adopt_mark(std::move(request.mark), request.at);
  }
  reply.done = made.ok();
  if (made.ok()) {
    reply.id = made->id;
    reply.entry = made->entry;
  } else {
    reply.error_code = static_cast<std::uint16_t>(made.error().code);
    reply.error_message = made.error().message;
  }
  entry = find(name);
  if (entry == nullptr || entry->sender == nullptr || entry->sender->number() != sender) co_return;
  co_await entry->sender->answer_mark(std::move(reply));
}

// Whatever was taken while the primary could not be asked is told to it, once for each connection.
io::Task<void> Pairs::offer_provisional_marks(std::shared_ptr<Link> link, Entry* entry) {
  const std::vector<group::Mark> marks = entry->group->provisional_marks();
  for (const group::Mark& mark : marks) {
    format::MarkRequest request;
    request.number = ++marks_asked_;
    request.at = mark.at;
    request.mark = group::record_of(mark);
    std::vector<std::byte> body = format::encode_mark_request(request);
    auto sent = co_await link->send(format::LinkMessage::kMarkRequest, std::move(body));
    if (!sent.ok()) co_return;
    while (!entry->mark_replies.contains(request.number)) co_await entry->receiver_moved.wait();
    const format::MarkReply reply = std::move(entry->mark_replies.extract(request.number).mapped());
    if (!reply.done) {
      host_.log("mark-still-provisional", entry->name,
                log_field("id", mark.id) + " " + log_field("reason", reply.error_message));
      continue;
    }
    host_.log("mark-known-to-primary", entry->name,
              log_field("id", mark.id) + " " + log_field("as", reply.id));
    // Under its own id, the entry that is on its way takes its place.
    if (reply.id != mark.id) (void)co_await entry->group->drop_provisional_mark(mark.id);
  }
}

}  // namespace tidemark::replication
