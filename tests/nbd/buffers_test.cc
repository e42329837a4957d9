#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "nbd/receive_buffer.h"
#include "nbd/reply_queue.h"

namespace tidemark::nbd {
namespace {

void feed(ReceiveBuffer& input, const std::string& text, std::size_t message_bytes) {
  const Buffer space = input.space_for(message_bytes);
  ASSERT_GE(space.size(), text.size());
  std::memcpy(space.data(), text.data(), text.size());
  input.received(text.size());
}

std::string text_of(Bytes bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

TEST(ReceiveBuffer, GivesBackWhatCameInOrder) {
  ReceiveBuffer input;
  feed(input, "hello ", 1);
  feed(input, "world", 11);
  EXPECT_EQ(text_of(input.unread()), "hello world");
  input.consume(6);
  EXPECT_EQ(text_of(input.take(5)), "world");
  EXPECT_TRUE(input.unread().empty());
}

TEST(ReceiveBuffer, ASliceKeepsItsBytesWhileMoreIsReceived) {
  ReceiveBuffer input;
  std::vector<Buffer> kept;
  for (int i = 0; i < 100; ++i) {
    const std::string text(20000, static_cast<char>('a' + i % 26));
    feed(input, text, 28);
    kept.push_back(input.take(20000));
  }
  for (std::size_t i = 0; i < kept.size(); ++i) {
    EXPECT_EQ(text_of(kept[i]), std::string(20000, static_cast<char>('a' + i % 26)));
  }
}

TEST(ReceiveBuffer, WithoutSlicesOneBlockIsEnough) {
  ReceiveBuffer input;
  for (int i = 0; i < 1000; ++i) {
    feed(input, std::string(10000, 'x'), 28);
    static_cast<void>(input.take(10000));
    EXPECT_EQ(input.blocks(), 1u);
  }
}

TEST(ReceiveBuffer, PinnedBlocksAreBoundedAndComeBack) {
  ReceiveBuffer input;
  std::vector<Buffer> kept;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 2000; ++i) {
      feed(input, std::string(4096, 'x'), 28);
      kept.push_back(input.take(4096));
      ASSERT_LE(input.blocks(), ReceiveBuffer::kBlocksMax);
    }
    EXPECT_EQ(input.blocks(), ReceiveBuffer::kBlocksMax);
    kept.clear();
    feed(input, "x", 28);
    input.consume(1);
    EXPECT_LE(input.blocks(), 2u);
  }
}

TEST(ReceiveBuffer, AMessageThatStartsNearTheEndIsMadeContiguous) {
  ReceiveBuffer input;
  constexpr std::size_t kNearEnd = ReceiveBuffer::kBlockBytes - 10;
  for (const bool pinned : {false, true}) {
    feed(input, std::string(ReceiveBuffer::kBlockBytes, 'x'), ReceiveBuffer::kBlockBytes);
    Buffer slice = input.take(kNearEnd);
    if (!pinned) slice = Buffer();
    const Buffer space = input.space_for(ReceiveBuffer::kBlockBytes);
    EXPECT_EQ(space.size(), ReceiveBuffer::kBlockBytes - 10);
    EXPECT_EQ(text_of(input.unread()), std::string(10, 'x'));
    input.consume(10);
  }
}

TEST(ReplyQueue, PacksSmallRepliesAndKeepsTheOrder) {
  ReplyQueue queue;
  queue.add(as_bytes("one,"));
  queue.add(as_bytes("two,"));
  queue.add_payload(Buffer::copy_of(as_bytes("DATA")), 4096);
  queue.add(as_bytes(",three"));
  EXPECT_EQ(queue.plain_bytes(), 14u);
  const ReplyQueue::Batch batch = queue.take();
  ASSERT_EQ(batch.pieces.size(), 3u);
  std::string all;
  for (const Buffer& piece : batch.pieces) all += text_of(piece);
  EXPECT_EQ(all, "one,two,DATA,three");
  EXPECT_EQ(batch.plain_bytes, 14u);
  EXPECT_EQ(batch.ordinary_charge_bytes, 4096u);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.plain_bytes(), 0u);
}

TEST(ReplyQueue, WhatIsBeingSentIsNotWrittenOver) {
  ReplyQueue queue;
  std::vector<ReplyQueue::Batch> sending;
  std::string expected;
  for (int i = 0; i < 30000; ++i) {
    const std::string text = std::to_string(i) + ";";
    expected += text;
    queue.add(as_bytes(text));
    if (i % 7 == 0) sending.push_back(queue.take());
    if (i % 1000 == 500) {
      queue.add_payload(Buffer::copy_of(as_bytes("P")), 1);
      expected += "P";
    }
  }
  while (!queue.empty()) sending.push_back(queue.take());
  std::string all;
  for (const ReplyQueue::Batch& batch : sending) {
    for (const Buffer& piece : batch.pieces) all += text_of(piece);
  }
  EXPECT_EQ(all, expected);
}

TEST(ReplyQueue, ALargePayloadIsSentInPartsAndChargedWhenTheLastHasGone) {
  ReplyQueue queue;
  const std::string data(3 * ReplyQueue::kSendPayloadBytesMax / 2, 'd');
  queue.add_payload(Buffer::copy_of(as_bytes(data)), 2 << 20);
  queue.add(as_bytes("next"));
  queue.add_payload(Buffer::copy_of(as_bytes("D")), 4096);
  const ReplyQueue::Batch first = queue.take();
  ASSERT_EQ(first.pieces.size(), 1u);
  EXPECT_EQ(first.pieces[0].size(), ReplyQueue::kSendPayloadBytesMax);
  EXPECT_EQ(first.large_charge_bytes, 0u);
  const ReplyQueue::Batch second = queue.take();
  ASSERT_EQ(second.pieces.size(), 3u);
  EXPECT_EQ(second.pieces[0].size(), ReplyQueue::kSendPayloadBytesMax / 2);
  EXPECT_EQ(second.large_charge_bytes, 2u << 20);
  EXPECT_EQ(second.ordinary_charge_bytes, 4096u);
  EXPECT_TRUE(queue.empty());
}

TEST(ReplyQueue, OneSendTakesABoundedNumberOfPieces) {
  ReplyQueue queue;
  for (int i = 0; i < 1000; ++i) queue.add_payload(Buffer::copy_of(as_bytes("x")), 1);
  EXPECT_EQ(queue.take().pieces.size(), ReplyQueue::kPiecesMax);
  EXPECT_EQ(queue.take().pieces.size(), 1000 - ReplyQueue::kPiecesMax);
}

}  // namespace
}  // namespace tidemark::nbd
