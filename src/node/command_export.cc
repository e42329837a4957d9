// GROUP/.command: commands that travel the road of the data, for hosts that speak nothing but blocks.

#include "node/command_export.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "base/log_field.h"
#include "control/command_block.h"
#include "control/types_json.h"

namespace tidemark::node {
namespace {

constexpr std::uint64_t kExportBytes = 64 << 10;  // room for an answer
constexpr char kHelp[] =
    R"({"version":1,"note":"write one block of 4096 bytes at offset 0, JSON and then zeroes: )"
    R"({\"command\": \"mark\", \"id\": \"...\"}; the commands are mark, journal-start, journal-stop, suspend and )"
    R"(restore. Then read the answer here"})";

// A command that runs; whoever waits for it may have gone.
template <typename Request>
struct Running {
  explicit Running(io::Scheduler& scheduler) : ended(scheduler) {}
  std::optional<Result<typename control::OperationOf<Request>::Reply>> reply;
  io::WaitQueue ended;
};

template <typename Request>
using Operation =
    io::Task<Result<typename control::OperationOf<Request>::Reply>> (control::NodeOperations::*)(Request);

template <typename Request>
io::Task<void> run_command(control::NodeOperations& operations, Operation<Request> operation, Request request,
                           std::shared_ptr<Running<Request>> running) {
  auto reply = co_await (operations.*operation)(std::move(request));
  running->reply = std::move(reply);
  running->ended.wake_all();
}

class CommandTarget final : public nbd::BlockTarget {
 public:
  CommandTarget(control::NodeOperations& operations, const CommandRules& rules, io::TaskScope& tasks,
                io::Scheduler& scheduler, std::string group, std::string client)
      : operations_(operations),
        rules_(rules),
        tasks_(tasks),
        scheduler_(scheduler),
        group_(std::move(group)),
        client_(std::move(client)),
        info_(command_export_info(group_)),
        answer_(kHelp),
        turn_(scheduler) {}

  const nbd::ExportInfo& info() const override { return info_; }

  io::Task<Result<void>> read(std::uint64_t offset, Buffer out) override {
    const auto guard = co_await turn_.lock();
    std::memset(out.data(), 0, out.size());
    const std::string text = answer_ + "\n";
    if (offset < text.size()) {
      std::memcpy(out.data(), text.data() + offset, std::min<std::size_t>(out.size(), text.size() - offset));
    }
    co_return Result<void>{};
  }

  io::Task<Result<void>> write(std::uint64_t offset, Buffer data, bool) override {
    const auto guard = co_await turn_.lock();
    std::string text(reinterpret_cast<const char*>(data.data()), data.size());
    if (offset != 0 || text.size() != control::kCommandBlockBytes) {
      refuse(fail(ErrorCode::kInvalid,
                  "a command is one block of 4096 bytes at offset 0, written at once; this write has " +
                      std::to_string(text.size()) + " bytes at offset " + std::to_string(offset)));
      co_return Result<void>{};
    }
    co_await obey(std::move(text));
    co_return Result<void>{};
  }

  bool write_now(std::uint64_t, const Buffer&) override { return false; }
  io::Task<Result<void>> flush() override { co_return Result<void>{}; }
  io::Task<Result<void>> trim(std::uint64_t, std::uint64_t, bool) override { co_return no_command(); }
  io::Task<Result<void>> write_zeroes(std::uint64_t, std::uint64_t, bool, bool) override {
    co_return no_command();
  }
  io::Task<Result<void>> cache(std::uint64_t, std::uint64_t) override { co_return Result<void>{}; }
  io::Task<Result<std::vector<nbd::AllocationExtent>>> block_status(std::uint64_t, std::uint64_t length,
                                                                    std::size_t) override {
    std::vector<nbd::AllocationExtent> extents(1);
    extents[0].length_bytes = length;
    co_return extents;
  }

 private:
  static Error no_command() { return fail(ErrorCode::kInvalid, "a command export takes commands only"); }

  static Error not_in_time() {
    return fail(ErrorCode::kTimeout, "not finished within " + format_duration(kCommandTimeLimit) +
                                         "; it goes on, see `tidemark status`");
  }

  void refuse(const Error& error) { answer_ = control::error_json(error); }

  // What was asked and how it ended. A secret is not written down.
  void note(std::string_view operation, const std::string& who, const std::string& body, const Error* error) {
    if (!rules_.audit) return;
    std::string line = "client=" + client_ + who + " " + log_field("operation", operation) + " " +
                       log_field("export", info_.name);
    if (!body.empty()) line += " " + log_field("body", body);
    line += " " + log_field("outcome", error == nullptr ? "done" : error_code_name(error->code));
    if (error != nullptr) line += " " + log_field("reason", error->message);
    rules_.audit(line);
  }

  // Of what anybody can send only so much is written down.
  void note_unknown(std::string_view operation, const Error& error) {
    if (!rules_.note_unknown) return;
    rules_.note_unknown(client_, info_.name + (operation.empty() ? "" : " " + std::string(operation)), error);
  }

  io::Task<void> obey(std::string text) {
    Result<control::CommandBlock> block = control::parse_command_block(text);
    if (!block.ok()) {
      refuse(block.error());
      note_unknown("", block.error());
      co_return;
    }
    const std::string& command = block->command;
    if (command == "mark") {
      co_await carry_out<control::MarkCreateRequest>(*block, &control::NodeOperations::mark_create);
    } else if (command == "journal-start") {
      co_await carry_out<control::JournalStartRequest>(*block, &control::NodeOperations::journal_start);
    } else if (command == "journal-stop") {
      co_await carry_out<control::JournalStopRequest>(*block, &control::NodeOperations::journal_stop);
    } else if (command == "suspend") {
      co_await carry_out<control::PairSuspendRequest>(*block, &control::NodeOperations::pair_suspend);
    } else if (command == "restore") {
      co_await carry_out<control::RestoreRequest>(*block, &control::NodeOperations::restore);
    } else {
      const Error unknown = fail(ErrorCode::kInvalid,
                                 "there is no command '" + printable(command) +
                                     "' here; there are mark, journal-start, journal-stop, suspend, restore");
      refuse(unknown);
      note_unknown("", unknown);
    }
  }

  // With the checks, and under the role, of the same request to the control API. The block outlives it.
  template <typename Request>
  io::Task<void> carry_out(const control::CommandBlock& block, Operation<Request> operation) {
    const control::RouteInfo& route = control::OperationOf<Request>::kRoute;
    bool is_known = true;
    const Result<std::string> who =
        rules_.admit ? rules_.admit(client_, block.token, route.role, route.operation, is_known)
                     : Result<std::string>(std::string());
    if (!who.ok() && !is_known) {
      refuse(who.error());
      note_unknown(route.operation, who.error());
      co_return;
    }
    control::RequestParts parts;
    parts.texts["group"] = group_;
    parts.body = block.body;
    Result<Request> request = who.ok() ? control::parse_request<Request>(parts) : who.error();
    if (!request.ok()) {
      refuse(request.error());
      note(route.operation, who.ok() ? *who : "", block.body, &request.error());
      co_return;
    }
    const auto running = std::make_shared<Running<Request>>(scheduler_);
    tasks_.spawn(run_command<Request>(operations_, operation, std::move(request).value(), running));
    const MonotonicTime due = scheduler_.now() + kCommandTimeLimit;
    while (!running->reply.has_value() && scheduler_.now() < due) {
      (void)co_await running->ended.wait_until(due);
    }
    if (!running->reply.has_value()) running->reply = not_in_time();
    const Result<typename control::OperationOf<Request>::Reply>& reply = *running->reply;
    const Error* const error = reply.ok() ? nullptr : &reply.error();
    note(route.operation, *who, block.body, error);
    if (error != nullptr) {
      refuse(*error);
      co_return;
    }
    answer_ = control::answer_json(reply.value());
    if (answer_.size() < kExportBytes) co_return;
    control::Done done;
    done.note = "done; its answer of " + std::to_string(answer_.size()) +
                " bytes is too long for this export: the control API tells it";
    answer_ = control::answer_json(done);
  }

  control::NodeOperations& operations_;
  const CommandRules& rules_;
  io::TaskScope& tasks_;
  io::Scheduler& scheduler_;
  const std::string group_;
  const std::string client_;
  const nbd::ExportInfo info_;
  std::string answer_;
  io::Mutex turn_;  // one command at a time; an answer is read when its command has ended
};

}  // namespace

nbd::ExportInfo command_export_info(const std::string& group) {
  nbd::ExportInfo info;
  info.name = group + "/" + std::string(kCommandVolume);
  info.description = "commands for group " + group;
  info.size_bytes = kExportBytes;
  return info;
}

std::unique_ptr<nbd::BlockTarget> make_command_target(control::NodeOperations& operations,
                                                      const CommandRules& rules, io::TaskScope& tasks,
                                                      io::Scheduler& scheduler, std::string group,
                                                      std::string client) {
  return std::make_unique<CommandTarget>(operations, rules, tasks, scheduler, std::move(group),
                                         std::move(client));
}

}  // namespace tidemark::node
