// tidemark-sim: two whole nodes, their hosts, disks and links in one thread, from a seed.

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tidemark_commit.h>
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "simulation/simulation.h"

namespace tidemark {
namespace {

// What the exit status says of the runs; of several failures the gravest.
enum Exit : int { kHeld = 0, kFailedToRun = 1, kUsage = 2, kStuck = 3, kWrongData = 4, kCrashed = 5 };

struct Arguments {
  std::uint64_t seed = 0;
  std::uint64_t seeds = 1;
  unsigned jobs = 1;
  bool trace = false;
  bool twice = false;
  bool stop_at_failure = false;
  double seconds = 0;  // 0: as many seeds as asked for
  double run_seconds_max = 120;
  std::string seeds_file{};
};

// ---- One seed, in a process of its own, so that an assert or a loop in the code under test ends that one
// alone.

struct Report {
  simulation::Outcome outcome{};
  int signal = 0;  // that ended it
  bool timed_out = false;
};

// Of the child: one line a field, to its end of a pipe.
void write_outcome(int to, const simulation::Outcome& outcome) {
  std::string text = std::to_string(static_cast<int>(outcome.verdict));
  for (const std::uint64_t count :
       {std::uint64_t{outcome.trace_checksum}, outcome.counts.requests, outcome.counts.points_read,
        outcome.counts.crashes, outcome.counts.disk_faults}) {
    text.append(" ").append(std::to_string(count));
  }
  text.append("\n").append(outcome.cause);
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t written = write(to, text.data() + done, text.size() - done);
    if (written <= 0) _exit(kFailedToRun);
    done += static_cast<std::size_t>(written);
  }
}

Report read_outcome(int from) {
  std::string text;
  char piece[4096];
  for (ssize_t got = 0; (got = read(from, piece, sizeof piece)) > 0;)
    text.append(piece, static_cast<std::size_t>(got));
  Report report;
  unsigned long long verdict = 0, checksum = 0, requests = 0, points = 0, crashes = 0, faults = 0;
  if (std::sscanf(text.c_str(), "%llu %llu %llu %llu %llu %llu", &verdict, &checksum, &requests, &points,
                  &crashes, &faults) == 6) {
    report.outcome.verdict = static_cast<simulation::Verdict>(verdict);
    report.outcome.trace_checksum = static_cast<std::uint32_t>(checksum);
    report.outcome.counts = simulation::Counts{requests, points, crashes, faults};
    report.outcome.cause = text.substr(text.find('\n') + 1);
  } else {
    report.outcome.verdict = simulation::Verdict::kStuck;
    report.outcome.cause = "it ended without a word";
  }
  return report;
}

[[noreturn]] void run_child(std::uint64_t seed, bool trace, double seconds_max, int to) {
  // Nodes come and go; what they had is not given back to the system each time.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 64 << 20);
  // A loop without end is a failure of its own kind: SIGALRM ends it.
  alarm(static_cast<unsigned>(seconds_max));
  const simulation::TraceLine line = [trace](const std::string& text) {
    if (trace) std::printf("%s\n", text.c_str());
  };
  const simulation::Outcome outcome = simulation::simulate(simulation::draw_options(seed), line);
  std::fflush(stdout);
  write_outcome(to, outcome);
  _exit(0);
}

std::vector<std::uint64_t> read_seeds(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::uint64_t> seeds;
  for (std::string line; std::getline(file, line);) {
    line.resize(std::min(line.find('#'), line.size()));
    std::uint64_t seed = 0;
    if (std::istringstream words(line); words >> seed) seeds.push_back(seed);
  }
  return seeds;
}

struct Child {
  std::uint64_t seed = 0;
  int from = -1;
};

class Runner {
 public:
  explicit Runner(const Arguments& arguments) : arguments_(arguments) {}
  int run();

 private:
  void start(std::uint64_t seed);
  void finish_one();
  void judge(std::uint64_t seed, const Report& report);

  const Arguments& arguments_;
  std::map<pid_t, Child> children_;
  std::map<std::uint64_t, std::uint32_t> first_checksums_;  // with --twice
  simulation::Counts counts_{};
  std::uint64_t finished_ = 0;
  std::uint64_t failed_ = 0;
  int status_ = kHeld;
};

void Runner::start(std::uint64_t seed) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    std::perror("tidemark-sim: pipe");
    std::exit(kFailedToRun);
  }
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) {
    std::perror("tidemark-sim: fork");
    std::exit(kFailedToRun);
  }
  if (child == 0) {
    close(ends[0]);
    run_child(seed, arguments_.trace, arguments_.run_seconds_max, ends[1]);
  }
  close(ends[1]);
  children_[child] = Child{seed, ends[0]};
}

void Runner::finish_one() {
  int how = 0;
  const pid_t ended = wait(&how);
  const auto found = children_.find(ended);
  if (found == children_.end()) return;
  const Child child = found->second;
  children_.erase(found);
  Report report = read_outcome(child.from);
  close(child.from);
  if (WIFSIGNALED(how)) {
    report.signal = WTERMSIG(how);
    report.timed_out = report.signal == SIGALRM;
  }
  judge(child.seed, report);
}

void Runner::judge(std::uint64_t seed, const Report& report) {
  ++finished_;
  const simulation::Outcome& outcome = report.outcome;
  counts_.requests += outcome.counts.requests;
  counts_.points_read += outcome.counts.points_read;
  counts_.crashes += outcome.counts.crashes;
  counts_.disk_faults += outcome.counts.disk_faults;
  std::string cause = outcome.cause;
  int status = kHeld;
  if (report.timed_out) {
    status = kStuck;
    cause = "stuck: the run did not end within " +
            std::to_string(static_cast<int>(arguments_.run_seconds_max)) + " s";
  } else if (report.signal != 0) {
    status = kCrashed;
    cause = std::string("crash: ") + strsignal(report.signal);
  } else if (outcome.verdict == simulation::Verdict::kStuck) {
    status = kStuck;
  } else if (outcome.verdict == simulation::Verdict::kWrongData) {
    status = kWrongData;
  } else if (arguments_.twice) {
    const auto [first, is_first] = first_checksums_.try_emplace(seed, outcome.trace_checksum);
    if (!is_first && first->second != outcome.trace_checksum) {
      status = kWrongData;
      cause = "the same seed gave another trace";
    }
    if (!is_first) first_checksums_.erase(first);
  }
  if (status == kHeld) return;
  ++failed_;
  status_ = std::max(status_, status);
  std::printf(
      "seed %llu FAILED: %s\n  commit %s\n  options %s\n  again: tidemark-sim --replay %llu --trace\n",
      static_cast<unsigned long long>(seed), cause.c_str(), TIDEMARK_COMMIT,
      simulation::describe(simulation::draw_options(seed)).c_str(), static_cast<unsigned long long>(seed));
  std::fflush(stdout);
}

int Runner::run() {
  const auto begin = std::chrono::steady_clock::now();
  const auto passed = [begin] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  const std::vector<std::uint64_t> named =
      arguments_.seeds_file.empty() ? std::vector<std::uint64_t>() : read_seeds(arguments_.seeds_file);
  const std::uint64_t seeds = arguments_.seeds_file.empty() ? arguments_.seeds : named.size();
  const std::uint64_t times = arguments_.twice ? 2 : 1;
  const std::uint64_t runs = seeds * times;
  const bool progress = isatty(STDERR_FILENO) != 0 && runs > 1;
  for (std::uint64_t i = 0; i < runs; ++i) {
    while (children_.size() >= arguments_.jobs) finish_one();
    if (arguments_.seconds > 0 && passed() > arguments_.seconds) break;
    if (arguments_.stop_at_failure && failed_ > 0) break;
    start(named.empty() ? arguments_.seed + i / times : named[i / times]);
    if (progress) {
      std::fprintf(stderr, "\r%llu of %llu runs, %llu failed, %.0f s ",
                   static_cast<unsigned long long>(finished_), static_cast<unsigned long long>(runs),
                   static_cast<unsigned long long>(failed_), passed());
    }
  }
  while (!children_.empty()) finish_one();
  if (progress) std::fprintf(stderr, "\r\033[K");
  const auto shown = [](std::uint64_t number) { return std::to_string(number); };
  std::string text = shown(finished_) + " runs ";
  text.append(named.empty() ? "from seed " + shown(arguments_.seed) : "of " + arguments_.seeds_file);
  text.append(", ").append(shown(failed_)).append(" failed: ");
  text.append(shown(counts_.requests)).append(" requests, ");
  text.append(shown(counts_.points_read)).append(" points compared, ");
  text.append(shown(counts_.crashes)).append(" crashes, ");
  text.append(shown(counts_.disk_faults)).append(" failing disk operations, ");
  text.append(shown(static_cast<std::uint64_t>(passed()))).append(" s\n");
  std::fputs(text.c_str(), stdout);
  return status_;
}

int main_with(int argc, char** argv) {
  CLI::App app(
      "Runs two whole Tidemark nodes, their hosts, disks and links in one thread on simulated hardware, from "
      "a seed:\n"
      "the same seed gives the same run. Every answer is held to a model; see docs/testing.md.");
  Arguments arguments;
  std::uint64_t replayed = 0;
  app.add_option("SEED", arguments.seed, "The seed, or with --seeds the first one")->type_name("");
  auto* replay =
      app.add_option("--replay", replayed, "The same as SEED, for a seed that failed")->type_name("SEED");
  app.add_option("--seeds", arguments.seeds, "How many seeds, one after the other")
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--jobs", arguments.jobs, "How many at once")
      ->type_name("J")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--for", arguments.seconds, "No new run after so many seconds")->type_name("SECONDS");
  app.add_option("--run-seconds", arguments.run_seconds_max, "A run that takes longer is stuck")
      ->type_name("SECONDS")
      ->capture_default_str();
  app.add_option("--file", arguments.seeds_file,
                 "The seeds that a file names: one a line, # begins a comment")
      ->type_name("FILE")
      ->check(CLI::ExistingFile);
  app.add_flag("--stop-at-failure", arguments.stop_at_failure, "No new run after one that failed");
  app.add_flag("--twice", arguments.twice, "Each seed twice; both runs have to be the same");
  app.add_flag("--trace", arguments.trace, "Prints what happens, in the order in which it does");
  app.footer(
      "Exit status: 0 every rule held, 1 could not run, 2 usage, 3 stuck, 4 wrong data, 5 crash.\n\n"
      "Examples:\n"
      "  tidemark-sim 4711                        one seed\n"
      "  tidemark-sim 1 --seeds 1000 --jobs 2     a thousand of them, on two cores\n"
      "  tidemark-sim --replay 4711 --trace       what happened in seed 4711");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kHeld : kUsage;
  }
  if (replay->count() > 0) arguments.seed = replayed;
  return Runner(arguments).run();
}

}  // namespace
}  // namespace tidemark

int main(int argc, char** argv) {
  return tidemark::main_with(argc, argv);
}
