#include "raid/geometry.h"

#include <gtest/gtest.h>

#include <set>

namespace tidemark::raid {
namespace {

using format::RaidLevel;

format::RaidShape shape_of(RaidLevel level, std::uint32_t members) {
  return format::make_raid_shape(level, members, 16384, 8 << 20).value();
}

TEST(Geometry, Raid5TurnsItsParityLeftSymmetric) {
  const Geometry geometry(shape_of(RaidLevel::k5, 4));
  // Row 0: 0 1 2 P; row 1: 4 5 P 3; row 2: 8 P 6 7; row 3: P 9 10 11.
  EXPECT_EQ(geometry.member_of(0, 3), 3u);
  EXPECT_EQ(geometry.member_of(0, 0), 0u);
  EXPECT_EQ(geometry.member_of(1, 3), 2u);
  EXPECT_EQ(geometry.member_of(1, 0), 3u);
  EXPECT_EQ(geometry.member_of(1, 1), 0u);
  EXPECT_EQ(geometry.member_of(2, 0), 2u);
  EXPECT_EQ(geometry.member_of(3, 3), 0u);
  EXPECT_EQ(geometry.member_of(3, 0), 1u);
  EXPECT_EQ(geometry.member_of(4, 3), 3u);
}

TEST(Geometry, Raid6PutsQBehindPAndDataBehindQ) {
  const Geometry geometry(shape_of(RaidLevel::k6, 5));
  EXPECT_EQ(geometry.member_of(0, 3), 4u);  // P
  EXPECT_EQ(geometry.member_of(0, 4), 0u);  // Q
  EXPECT_EQ(geometry.member_of(0, 0), 1u);
  EXPECT_EQ(geometry.member_of(1, 3), 3u);
  EXPECT_EQ(geometry.member_of(1, 4), 4u);
  EXPECT_EQ(geometry.member_of(1, 0), 0u);
}

TEST(Geometry, RolesAndMembersAreEachOthersInverse) {
  for (const RaidLevel level : {RaidLevel::k5, RaidLevel::k6}) {
    for (std::uint32_t members = 4; members < 9; ++members) {
      const Geometry geometry(shape_of(level, members));
      for (std::uint64_t row = 0; row < 20; ++row) {
        for (std::uint32_t role = 0; role < geometry.roles(); ++role) {
          EXPECT_EQ(geometry.role_of(row, geometry.member_of(row, role)), role);
        }
      }
    }
  }
}

TEST(Geometry, EveryByteOfAGroupHasAPlaceOfItsOwn) {
  for (const auto& [level, members] :
       {std::pair(RaidLevel::k0, 1u), std::pair(RaidLevel::k0, 3u), std::pair(RaidLevel::k1, 2u),
        std::pair(RaidLevel::k5, 3u), std::pair(RaidLevel::k6, 5u), std::pair(RaidLevel::k10, 6u)}) {
    const Geometry geometry(shape_of(level, members));
    std::set<std::pair<std::uint32_t, std::uint64_t>> places;
    std::uint64_t at = 0;
    for (const Geometry::Piece& piece : geometry.split(0, geometry.size_bytes())) {
      EXPECT_EQ(piece.group_offset, at);
      at += piece.length_bytes;
      for (std::uint32_t i = 0; i < geometry.copies(); ++i) {
        EXPECT_TRUE(
            places.emplace(geometry.first_member(piece.row, piece.cell) + i, piece.member_offset).second);
        EXPECT_LE(piece.member_offset + piece.length_bytes, geometry.shape().member_bytes);
      }
    }
    EXPECT_EQ(at, geometry.size_bytes());
  }
}

TEST(Geometry, ShapesThatCannotBeAreRefused) {
  const auto refused = [](RaidLevel level, std::uint32_t members, std::uint32_t unit, std::uint64_t bytes) {
    const auto shape = format::make_raid_shape(level, members, unit, bytes);
    return !shape.ok() && shape.error().code == ErrorCode::kInvalid;
  };
  EXPECT_TRUE(refused(RaidLevel::k0, 0, 65536, 8 << 20));
  EXPECT_TRUE(refused(RaidLevel::k5, 2, 65536, 8 << 20));
  EXPECT_TRUE(refused(RaidLevel::k6, 3, 65536, 8 << 20));
  EXPECT_TRUE(refused(RaidLevel::k10, 5, 65536, 8 << 20));
  EXPECT_TRUE(refused(RaidLevel::k1, 33, 65536, 8 << 20));
  EXPECT_TRUE(refused(RaidLevel::k1, 2, 65537, 8 << 20));
  EXPECT_TRUE(refused(RaidLevel::k1, 2, 0, 8 << 20));
  EXPECT_TRUE(refused(RaidLevel::k5, 3, 65536, 2 << 20));
  EXPECT_FALSE(refused(RaidLevel::k5, 3, 65536, (2 << 20) + 65536));
  EXPECT_FALSE(refused(RaidLevel::k0, 1, 65536, 8 << 20));
  EXPECT_TRUE(refused(RaidLevel::k1, 1, 65536, 8 << 20));
}

TEST(Geometry, AGroupIsNotLargerThanAnAddress) {
  const auto shape = [](format::RaidLevel level, std::uint32_t members) {
    return format::make_raid_shape(level, members, 65536, std::uint64_t{1} << 61);
  };
  EXPECT_TRUE(shape(format::RaidLevel::k1, 32).ok());
  EXPECT_TRUE(shape(format::RaidLevel::k5, 4).ok());
  EXPECT_EQ(shape(format::RaidLevel::k0, 32).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(shape(format::RaidLevel::k6, 32).error().code, ErrorCode::kInvalid);
}

}  // namespace
}  // namespace tidemark::raid
