#include "pair_watch.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/names.h"
#include "output_file.h"
#include "progress.h"
#include "show.h"

namespace tidemark::cli {
namespace {

constexpr Duration kNapMax = Duration::milliseconds(100);  // an interrupt is seen so soon
constexpr Duration kAskInterval = Duration::milliseconds(200);

void nap(Duration duration) {
  for (Duration left = duration; left > Duration{} && !InterruptsNoted::interrupted();
       left = left - kNapMax) {
    ::usleep(static_cast<useconds_t>(std::min(left, kNapMax).ns / 1000));
  }
}

void show_in_place(const control::PairStatusRequest& request, Duration interval) {
  std::printf("\033[H\033[Jpair %s, every %s; ^C ends\n\n", printable(request.group).c_str(),
              format_duration(interval).c_str());
}

// What is still on its way, in one number; it only gets less while hosts write no faster than the link takes.
std::uint64_t left_bytes(const control::PairStatus& status) {
  if (status.state != control::PairState::kCopy) return status.lag_bytes;
  return status.copy_total_bytes - std::min(status.copy_done_bytes, status.copy_total_bytes);
}

}  // namespace

Result<void> watch_pair(Cli& cli, const control::PairStatusRequest& request, Duration interval) {
  const InterruptsNoted interrupts;
  const bool in_place = ::isatty(STDOUT_FILENO) == 1 && !cli.json();
  bool first = true;
  while (true) {
    const Result<control::PairStatus> status = cli.call(request);
    if (InterruptsNoted::interrupted()) break;
    // Once it was seen, a node that is away for a while may come back.
    if (!status.ok() && first) return status.error();
    if (in_place) show_in_place(request, interval);
    if (!status.ok()) {
      std::fprintf(in_place ? stdout : stderr, "%s\n",
                   printable(status.error().message, kMessageLengthMax).c_str());
    } else if (cli.json()) {
      cli.print_json(*status);
    } else {
      if (!first && !in_place) std::printf("\n");
      show_pair(*status);
    }
    first = false;
    // Nobody reads on.
    if (std::fflush(stdout) != 0) return fail(ErrorCode::kIo, "what was to be shown cannot be written");
    nap(interval);
    if (InterruptsNoted::interrupted()) break;
  }
  if (in_place) std::printf("\n");
  return {};
}

Result<control::PairStatus> wait_for_secondary(Cli& cli, control::PairStatus status) {
  const InterruptsNoted interrupts;
  const bool copies = status.state == control::PairState::kCopy;
  const LogId wanted = status.durable;
  std::uint64_t total = 0;
  Progress progress(copies ? "copying" : "catching up");
  while (true) {
    const bool in_pair = status.state == control::PairState::kPair;
    if (in_pair && status.received.raw() >= wanted.raw()) return status;
    if (!in_pair && status.state != control::PairState::kCopy) {
      return fail(ErrorCode::kRefused, "the pair of group '" + status.group + "' is " +
                                           std::string(control::word(status.state)) +
                                           (status.state_reason.empty() ? "" : ": " + status.state_reason) +
                                           "; see `tidemark pair status " + status.group + "`");
    }
    const std::uint64_t left = left_bytes(status);
    if (copies && !in_pair) total = status.copy_total_bytes;
    total = std::max(total, left);
    const std::uint64_t done = total - left;
    progress.show(done, total, done, status.link_up ? "" : "the link is down");
    nap(kAskInterval);
    if (InterruptsNoted::interrupted()) {
      return fail(ErrorCode::kClosed, "no longer waited for: it goes on in the node; `tidemark pair status " +
                                          status.group + " --watch` shows it");
    }
    control::PairStatusRequest request;
    request.group = status.group;
    TM_TRY_ASSIGN(status, cli.call(request));
  }
}

}  // namespace tidemark::cli
