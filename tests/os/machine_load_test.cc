#include "os/machine_load.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

namespace tidemark::os {
namespace {

class MachineLoadTest : public testing::Test {
 protected:
  MachineLoadTest() {
    std::string name = testing::TempDir() + "/load.XXXXXX";
    folder = ::mkdtemp(name.data());
    if (is_confined_to_some_cores()) can_tell = false;
  }
  ~MachineLoadTest() override { std::filesystem::remove_all(folder); }
  std::string file(const std::string& text) {
    const std::string path = folder + "/loadavg";
    std::ofstream(path) << text;
    return path;
  }
  bool wanted(const std::string& text) { return MachineLoad(file(text)).cores_are_wanted(); }

  std::string folder;
  bool can_tell = true;
  const long cores = ::sysconf(_SC_NPROCESSORS_ONLN);
};

TEST_F(MachineLoadTest, MoreThreadsThanCoresWantThem) {
  EXPECT_FALSE(wanted("9.99 9.99 9.99 " + std::to_string(cores) + "/200 4242\n"));
  EXPECT_EQ(wanted("0.00 0.00 0.00 " + std::to_string(cores + 1) + "/200 4242\n"), can_tell);
}

TEST_F(MachineLoadTest, IsLookedAtAnewEachTime) {
  const MachineLoad load(file("0.00 0.00 0.00 1/200 4242\n"));
  EXPECT_FALSE(load.cores_are_wanted());
  file("0.00 0.00 0.00 9999/9999 4242\n");
  EXPECT_EQ(load.cores_are_wanted(), can_tell);
}

TEST_F(MachineLoadTest, WhatCannotBeReadSaysNothing) {
  EXPECT_FALSE(MachineLoad(folder + "/none").cores_are_wanted());
  for (const std::string text : {"", "9999", "9999 9999 9999", "1 2 3 ", "0.00 0.00 0.00 many/200 4242\n"}) {
    EXPECT_FALSE(wanted(text)) << text;
  }
}

TEST_F(MachineLoadTest, AProcessThatMayUseOneCoreOfSeveralIsConfined) {
  if (cores < 2 || !can_tell) GTEST_SKIP() << "needs two cores";
  EXPECT_FALSE(is_confined_to_some_cores());
  // The calling thread alone counts, so a thread of its own stands for the process.
  std::thread([this] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(::sched_getcpu(), &one);
    ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_TRUE(is_confined_to_some_cores());
    EXPECT_FALSE(wanted("0.00 0.00 0.00 9999/9999 4242\n"));
  }).join();
}

}  // namespace
}  // namespace tidemark::os
