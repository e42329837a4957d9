// A RAID group on files, beside the same files without one: each load goes in turns to the group and to plain
// writes or reads of the same bytes at the same places of as many files, on one disk and one thread, and what
// counts is the ratio. The members share a disk here, so nothing is said about how many disks add up.
//
//   raid_files [--folder DIR] [--rounds N] [--seconds S] [--member MIB] [--level 0|1|10|5|6]
//
// Files are made in DIR (else TMPDIR, else /tmp), filled, and removed. Exit status 0, or 1 when something
// failed.

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "os/environment.h"
#include "os/file_disk.h"
#include "os/network.h"
#include "os/offload.h"
#include "os/reactor.h"
#include "raid/geometry.h"
#include "raid/raid_group.h"

namespace tidemark::raid {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

struct Arguments {
  std::string folder = std::filesystem::temp_directory_path().string();
  std::uint64_t rounds = 5;
  double seconds = 2;
  std::uint64_t member_bytes = 512 * kMiB;
  std::string level;  // as level_name() says it; empty: all
};

void ensure(const Result<void>& result) {
  if (result.ok()) return;
  std::fprintf(stderr, "raid_files: %s\n", result.error().message.c_str());
  std::exit(1);
}

template <typename T>
T value_or_exit(Result<T> result) {
  if (!result.ok()) ensure(result.error());
  return std::move(result).value();
}

// What a folder and a thread need to hold disks. The parts die in the reverse order.
struct Machine {
  std::unique_ptr<os::Reactor> reactor = value_or_exit(os::Reactor::create());
  os::ThreadOffload offload{*reactor};
  os::SystemClock clock;
  os::SystemRandom random;
  os::Network network{*reactor, offload};
  io::Environment environment{*reactor, clock, random, network, offload};
};

using Disks = std::vector<std::unique_ptr<os::FileDisk>>;

// Written once, so that no later write has to wait for the file system to find space.
void fill(Machine& machine, io::Disk& disk) {
  const std::vector<Buffer> zeroes(1, Buffer::allocate(kMiB));
  std::memset(zeroes[0].data(), 0, kMiB);
  for (std::uint64_t at = 0; at + kMiB <= disk.size_bytes(); at += kMiB) {
    ensure(machine.reactor->run(disk.write(DiskOffset{at}, zeroes, io::Durability::kVolatile)));
  }
  ensure(machine.reactor->run(disk.flush()));
}

Disks make_disks(Machine& machine, const std::string& prefix, std::size_t count, std::uint64_t size_bytes) {
  Disks disks;
  for (std::size_t i = 0; i < count; ++i) {
    os::FileDiskOptions options;
    options.open = os::FileDiskOptions::Open::kCreate;
    options.create_size_bytes = size_bytes;
    disks.push_back(value_or_exit(os::FileDisk::open(*machine.reactor, prefix + std::to_string(i), options)));
    fill(machine, *disks.back());
  }
  return disks;
}

std::vector<NamedDisk> named(const Disks& disks) {
  std::vector<NamedDisk> out(disks.size());
  for (std::size_t i = 0; i < disks.size(); ++i) {
    out[i].name = disks[i]->path();
    out[i].disk = disks[i].get();
  }
  return out;
}

// One operation of a load, by its number.
using Operation = std::function<io::Task<Result<void>>(std::uint64_t number)>;

io::Task<void> go_on(const Operation* operation, std::uint64_t* next, const bool* stops,
                     Result<void>* error) {
  while (!*stops && error->ok()) {
    const std::uint64_t number = (*next)++;
    auto done = co_await (*operation)(number);
    if (!done.ok()) *error = std::move(done);
  }
}

// Operations in a second, `depth` at once.
double run_load(Machine& machine, const Operation& operation, std::size_t depth, double seconds) {
  std::uint64_t next = 0;
  bool stops = false;
  Result<void> error;
  io::TaskScope scope(*machine.reactor);
  const MonotonicTime began = machine.reactor->now();
  for (std::size_t i = 0; i < depth; ++i) scope.spawn(go_on(&operation, &next, &stops, &error));
  machine.reactor->run([](io::Scheduler* scheduler, std::int64_t nanoseconds) -> io::Task<void> {
    co_await scheduler->sleep_for(Duration::nanoseconds(nanoseconds));
  }(machine.reactor.get(), static_cast<std::int64_t>(seconds * 1e9)));
  stops = true;
  machine.reactor->run(scope.join());
  ensure(error);
  const double took = static_cast<double>((machine.reactor->now() - began).ns) / 1e9;
  return static_cast<double>(next) / took;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// A group of a level, and as many plain files beside it.
class Bench {
 public:
  Bench(Machine& machine, const Arguments& arguments, format::RaidLevel level, std::size_t members)
      : machine_(machine),
        arguments_(arguments),
        level_(level),
        folder_(arguments.folder + "/raid_files." + std::to_string(::getpid())) {
    std::filesystem::create_directories(folder_);
    members_ = make_disks(machine, folder_ + "/member", members, arguments.member_bytes);
    plain_ = make_disks(machine, folder_ + "/plain", members, arguments.member_bytes);
    RaidSpec spec;
    spec.name = "bench";
    spec.level = level;
    const RaidIdentity raid = value_or_exit(
        machine.reactor->run(RaidGroup::create(machine.environment, named(members_), {}, spec)));
    Assembly assembly = machine.reactor->run(
        RaidGroup::assemble(machine.environment, named(members_), {}, raid, RaidOptions()));
    group_ = value_or_exit(std::move(assembly.group));
    fill(machine, *group_);  // what was on its disks was discarded
    block_ = Buffer::allocate(4 * kMiB);
    std::memset(block_.data(), 0x5a, block_.size());
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;
  ~Bench() {
    group_.reset();
    members_.clear();
    plain_.clear();
    std::filesystem::remove_all(folder_);
  }

  // Whole rows, `bytes` of the group each, one after the other; and the same on each file.
  void sequential_writes(std::uint64_t bytes, std::size_t depth, io::Durability durability,
                         const char* what) {
    const std::uint64_t places = group_->size_bytes() / bytes;
    const std::uint64_t each = bytes_on_a_member(bytes);
    const Operation in_group = [this, bytes, places, durability](std::uint64_t number) {
      return group_->write(DiskOffset{number % places * bytes}, piece(bytes), durability);
    };
    const Operation on_files = [this, each, durability](std::uint64_t number) {
      const std::uint64_t at = number % (arguments_.member_bytes / each) * each;
      return on_files_from(0, plain_.size(), DiskOffset{at}, each, durability);
    };
    compare(what, in_group, on_files, depth, bytes);
  }
  // Blocks here and there; on the files as many copies as the level keeps, each on files of its own.
  void random_writes(std::size_t copies, std::size_t depth) {
    const std::uint64_t places = group_->size_bytes() / kBlockSizeBytes;
    const Operation in_group = [this, places](std::uint64_t) {
      const std::uint64_t at = machine_.random.below(places) * kBlockSizeBytes;
      return group_->write(DiskOffset{at}, piece(kBlockSizeBytes), io::Durability::kVolatile);
    };
    const Operation on_files = [this, copies](std::uint64_t) {
      const std::uint64_t at = machine_.random.below(arguments_.member_bytes / kBlockSizeBytes);
      const std::size_t first = machine_.random.below(plain_.size() / copies) * copies;
      return on_files_from(first, copies, DiskOffset{at * kBlockSizeBytes}, kBlockSizeBytes,
                           io::Durability::kVolatile);
    };
    compare("4 KiB random writes", in_group, on_files, depth, kBlockSizeBytes);
  }
  void random_reads(std::size_t depth) {
    const std::uint64_t places = group_->size_bytes() / kBlockSizeBytes;
    const Operation in_group = [this, places](std::uint64_t) {
      return group_->read(DiskOffset{machine_.random.below(places) * kBlockSizeBytes},
                          Buffer::allocate(kBlockSizeBytes));
    };
    const Operation on_files = [this](std::uint64_t) {
      const std::uint64_t at = machine_.random.below(arguments_.member_bytes / kBlockSizeBytes);
      return plain_[machine_.random.below(plain_.size())]->read(DiskOffset{at * kBlockSizeBytes},
                                                                Buffer::allocate(kBlockSizeBytes));
    };
    compare("4 KiB random reads", in_group, on_files, depth, kBlockSizeBytes);
  }
  // A member made anew from the others, beside reading as many files and writing one.
  void rebuild() {
    Disks blanks;
    const auto in_group = [&] {
      blanks.push_back(
          std::move(make_disks(machine_, folder_ + "/blank" + std::to_string(blanks.size()) + "-", 1,
                               arguments_.member_bytes)
                        .front()));
      NamedDisk blank;
      blank.name = blanks.back()->path();
      blank.disk = blanks.back().get();
      const MonotonicTime began = machine_.reactor->now();
      ensure(machine_.reactor->run(group_->replace(0, blank)));
      machine_.reactor->run(group_->wait_for_rebuild());
      const RaidStatus status = group_->status();
      if (status.health != GroupHealth::kOptimal) ensure(fail(ErrorCode::kIo, status.rebuild_problem));
      return seconds_since(began);
    };
    const auto on_files = [&] {
      constexpr std::uint64_t kStep = kMiB;
      const std::size_t sources = level_ == format::RaidLevel::k1 || level_ == format::RaidLevel::k10
                                      ? 1
                                      : plain_.size() - (level_ == format::RaidLevel::k6 ? 2 : 1);
      std::uint64_t next = 0;
      Result<void> error;
      const MonotonicTime began = machine_.reactor->now();
      io::TaskScope scope(*machine_.reactor);
      for (int i = 0; i < 4; ++i) scope.spawn(copy_some(sources, kStep, &next, &error));
      machine_.reactor->run(scope.join());
      ensure(error);
      ensure(machine_.reactor->run(plain_[0]->flush()));
      return seconds_since(began);
    };
    std::vector<double> group, files, ratios;
    for (std::uint64_t i = 0; i < arguments_.rounds; ++i) {
      const double first = static_cast<double>(arguments_.member_bytes) / in_group();
      const double second = static_cast<double>(arguments_.member_bytes) / on_files();
      group.push_back(first);
      files.push_back(second);
      ratios.push_back(first / second);
    }
    show("rebuild of a member", median(group) / 1e6, median(files) / 1e6, median(ratios));
    group_.reset();  // it uses what goes now
  }

 private:
  std::vector<Buffer> piece(std::uint64_t bytes) const { return {block_.slice(0, bytes)}; }
  std::uint64_t bytes_on_a_member(std::uint64_t bytes) const {
    switch (level_) {
      case format::RaidLevel::k0:
        return bytes / members_.size();
      case format::RaidLevel::k1:
        return bytes;
      case format::RaidLevel::k10:
        return bytes / (members_.size() / 2);
      case format::RaidLevel::k5:
        return bytes / (members_.size() - 1);
      case format::RaidLevel::k6:
        return bytes / (members_.size() - 2);
    }
    std::abort();
  }
  double seconds_since(MonotonicTime began) const {
    return static_cast<double>((machine_.reactor->now() - began).ns) / 1e9;
  }
  io::Task<void> write_one(std::size_t file, DiskOffset offset, std::uint64_t bytes,
                           io::Durability durability, Result<void>* error) {
    auto done = co_await plain_[file]->write(offset, piece(bytes), durability);
    if (!done.ok()) *error = std::move(done);
  }
  io::Task<Result<void>> on_files_from(std::size_t first, std::size_t count, DiskOffset offset,
                                       std::uint64_t bytes, io::Durability durability) {
    Result<void> error;
    io::TaskScope scope(*machine_.reactor);
    for (std::size_t i = 0; i < count; ++i) {
      scope.spawn(write_one(first + i, offset, bytes, durability, &error));
    }
    co_await scope.join();
    co_return error;
  }
  io::Task<void> read_one(std::size_t file, DiskOffset offset, Buffer out, Result<void>* error) {
    auto done = co_await plain_[file]->read(offset, std::move(out));
    if (!done.ok()) *error = std::move(done);
  }
  io::Task<void> copy_some(std::size_t sources, std::uint64_t step, std::uint64_t* next,
                           Result<void>* error) {
    while (error->ok() && *next < arguments_.member_bytes) {
      const DiskOffset at{std::exchange(*next, *next + step)};
      {
        io::TaskScope scope(*machine_.reactor);
        for (std::size_t i = 1; i <= sources; ++i)
          scope.spawn(read_one(i, at, Buffer::allocate(step), error));
        co_await scope.join();
      }
      co_await write_one(0, at, step, io::Durability::kVolatile, error);
    }
  }
  void compare(const char* what, const Operation& in_group, const Operation& on_files, std::size_t depth,
               std::uint64_t bytes) {
    std::vector<double> group, files, ratios;
    for (std::uint64_t i = 0; i < arguments_.rounds; ++i) {
      // Whoever is second may find the disk slower, or faster.
      const bool group_first = i % 2 == 0;
      double first = run_load(machine_, group_first ? in_group : on_files, depth, arguments_.seconds);
      double second = run_load(machine_, group_first ? on_files : in_group, depth, arguments_.seconds);
      if (!group_first) std::swap(first, second);
      group.push_back(first);
      files.push_back(second);
      ratios.push_back(first / second);
    }
    const double to_mb = static_cast<double>(bytes) / 1e6;
    show(std::string(what) + ", " + std::to_string(depth) + " at once", median(group) * to_mb,
         median(files) * to_mb, median(ratios));
  }
  void show(const std::string& what, double group, double files, double ratio) const {
    std::printf("%-7s of %zu  %-50s %8.0f %8.0f   %5.2f\n", level_name(level_), members_.size(), what.c_str(),
                group, files, ratio);
    std::fflush(stdout);
  }

  Machine& machine_;
  const Arguments& arguments_;
  const format::RaidLevel level_;
  const std::string folder_;
  Disks members_;
  Disks plain_;
  Buffer block_;
  std::unique_ptr<RaidGroup> group_;
};

int run(const Arguments& arguments) {
  std::printf(
      "files of %llu MiB in %s, %llu rounds of %.1f s; medians, MB/s of the group's host\n%-70s %8s %8s   "
      "%s\n",
      static_cast<unsigned long long>(arguments.member_bytes / kMiB), arguments.folder.c_str(),
      static_cast<unsigned long long>(arguments.rounds), arguments.seconds, "", "group", "files", "ratio");
  Machine machine;
  constexpr auto kVolatile = io::Durability::kVolatile;
  constexpr auto kDurable = io::Durability::kDurable;
  struct Level {
    format::RaidLevel level;
    std::size_t members;
    std::uint64_t rows_bytes;  // four rows of the group
    std::size_t copies;        // 0: parity
  };
  const Level levels[] = {{format::RaidLevel::k0, 4, kMiB, 1},
                          {format::RaidLevel::k1, 2, kMiB / 4, 2},
                          {format::RaidLevel::k10, 4, kMiB / 2, 2},
                          {format::RaidLevel::k5, 4, kMiB * 3 / 4, 0},
                          {format::RaidLevel::k6, 4, kMiB / 2, 0}};
  for (const Level& level : levels) {
    if (!arguments.level.empty() && arguments.level != level_name(level.level)) continue;
    Bench bench(machine, arguments, level.level, level.members);
    bench.sequential_writes(level.rows_bytes, 8, kVolatile, "writes of four rows");
    if (level.copies > 0) bench.random_writes(level.copies, 32);
    bench.random_reads(32);
    if (level.level == format::RaidLevel::k1) {
      bench.sequential_writes(4096, 1, kDurable, "durable appends of 4 KiB");
      bench.sequential_writes(128 << 10, 4, kDurable, "durable appends of 128 KiB");
    }
    if (level.level != format::RaidLevel::k0) bench.rebuild();
  }
  return 0;
}

}  // namespace
}  // namespace tidemark::raid

int main(int count, char** words) {
  tidemark::raid::Arguments arguments;
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string_view option = words[i];
    const char* const value = words[i + 1];
    if (option == "--folder") {
      arguments.folder = value;
    } else if (option == "--rounds") {
      arguments.rounds = std::max(1ul, std::strtoul(value, nullptr, 10));
    } else if (option == "--seconds") {
      arguments.seconds = std::max(0.1, std::strtod(value, nullptr));
    } else if (option == "--member") {
      arguments.member_bytes = std::max(64ul, std::strtoul(value, nullptr, 10)) << 20;
    } else if (option == "--level") {
      arguments.level = "RAID " + std::string(value);
    } else {
      count = 0;
    }
  }
  if (count % 2 != 1) {
    std::fprintf(stderr,
                 "usage: raid_files [--folder DIR] [--rounds N] [--seconds S] [--member MIB] "
                 "[--level 0|1|10|5|6]\n");
    return 2;
  }
  return tidemark::raid::run(arguments);
}
