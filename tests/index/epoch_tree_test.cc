#include "index/epoch_tree.h"

#include <gtest/gtest.h>

namespace tidemark::index {
namespace {

EpochInfo epoch(std::uint32_t number, LogId parent, std::uint64_t last) {
  EpochInfo info;
  info.number = Epoch{number};
  info.identity.bytes[0] = static_cast<std::uint8_t>(number);
  info.parent = parent;
  info.last = LogId(info.number, last);
  return info;
}

LogId id(std::uint32_t number, std::uint64_t sequence) {
  return LogId(Epoch{number}, sequence);
}

TEST(EpochTree, WaysLeadThroughParentsToTheRoot) {
  EpochTree tree;
  ASSERT_TRUE(tree.add(epoch(1, id(1, 0), 9)).ok());
  ASSERT_TRUE(tree.add(epoch(2, id(1, 5), 4)).ok());
  EXPECT_TRUE(tree.is_ancestor(id(1, 0), id(2, 4)));
  EXPECT_TRUE(tree.is_ancestor(id(1, 5), id(2, 1)));
  EXPECT_FALSE(tree.is_ancestor(id(1, 6), id(2, 4)));
  EXPECT_EQ(tree.common_ancestor(id(1, 9), id(2, 4)), id(1, 5));
}

// A tree that was read from a snapshot or came from a peer may say anything, and the questions must end.
TEST(EpochTree, AFirstEpochThatContinuesItselfOrALaterOneIsRefused) {
  EXPECT_EQ(EpochTree().add(epoch(3, id(3, 1), 9)).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(EpochTree().add(epoch(3, id(5, 1), 9)).error().code, ErrorCode::kInvalid);
  // Its parents were forgotten.
  EXPECT_TRUE(EpochTree().add(epoch(3, id(2, 7), 9)).ok());
}

TEST(EpochTree, APointBeforeTheFirstEpochIsNobodysAncestor) {
  EpochTree tree;
  ASSERT_TRUE(tree.add(epoch(1, id(1, 0), 9)).ok());
  EXPECT_FALSE(tree.is_ancestor(LogId(), id(1, 9)));
  EXPECT_FALSE(tree.is_ancestor(id(0, 7), id(1, 9)));
  EXPECT_EQ(tree.common_ancestor(LogId(), id(1, 9)), LogId());
}

// 1 goes to 9 and is held up to 5; 2, of which nothing is held, goes on after 9; 3 goes on after 2.4 and is
// whole from 3 on; 4 goes on there, and 5 from before that.
TEST(EpochTree, WhatHasAGapBehindItIsNotWhole) {
  EpochTree tree;
  ASSERT_TRUE(tree.add(epoch(1, id(1, 0), 5)).ok());
  ASSERT_TRUE(tree.add(epoch(2, id(1, 9), 0)).ok());
  ASSERT_TRUE(tree.add(epoch(3, id(2, 4), 8)).ok());
  ASSERT_TRUE(tree.add(epoch(4, id(3, 6), 2)).ok());
  ASSERT_TRUE(tree.add(epoch(5, id(3, 2), 2)).ok());
  tree.find(Epoch{3})->complete_from = 3;
  EXPECT_EQ(tree.newest_whole(id(1, 5), id(1, 0)), id(1, 5));
  EXPECT_EQ(tree.newest_whole(id(1, 6), id(1, 0)), id(1, 5));
  EXPECT_EQ(tree.newest_whole(id(2, 4), id(1, 0)), id(1, 5));
  EXPECT_EQ(tree.newest_whole(id(3, 2), id(1, 0)), id(1, 5));
  EXPECT_EQ(tree.newest_whole(id(3, 3), id(1, 0)), id(3, 3));
  EXPECT_EQ(tree.newest_whole(id(4, 1), id(1, 0)), id(4, 1));
  EXPECT_EQ(tree.newest_whole(id(5, 1), id(1, 0)), id(1, 5));
  // Where everything older has passed out of the window, nothing of before counts.
  EXPECT_EQ(tree.newest_whole(id(4, 1), id(3, 5)), id(4, 1));
  EXPECT_TRUE(tree.has_gap_after(Epoch{1}));
  EXPECT_TRUE(tree.has_gap_after(Epoch{2}));
  EXPECT_FALSE(tree.has_gap_after(Epoch{3}));
}

}  // namespace
}  // namespace tidemark::index
