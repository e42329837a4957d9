#include "host/file_events.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <set>

#include "temporary_folder.h"

namespace tidemark::host {
namespace {

TEST(WatchTree, FindsWhatIsMadeWhileItIsBeingWatched) {
  const TemporaryFolder folder;
  const std::string root = folder.path();
  std::set<std::string> watched;
  // Just before each folder is watched, somebody makes another one in it.
  const auto tree = watch_tree(root, [&](const std::string& each) -> Result<void> {
    const std::string below = each + "/below";
    if (watched.size() < 3) {
      EXPECT_EQ(::mkdir(below.c_str(), 0700), 0);
      std::ofstream(below + "/file") << "x";
    }
    watched.insert(each);
    return {};
  });
  ASSERT_TRUE(tree.ok()) << tree.error().message;
  EXPECT_EQ(watched, (std::set<std::string>{root, root + "/below", root + "/below/below",
                                            root + "/below/below/below"}));
  EXPECT_EQ(tree->files.size(), 3u);
}

TEST(WatchTree, EndsWithTheErrorOfAFolderThatCannotBeWatched) {
  const TemporaryFolder folder;
  const auto tree = watch_tree(
      folder.path(), [](const std::string&) -> Result<void> { return fail(ErrorCode::kNoSpace, "no more"); });
  ASSERT_FALSE(tree.ok());
  EXPECT_EQ(tree.error().code, ErrorCode::kNoSpace);
}

}  // namespace
}  // namespace tidemark::host
