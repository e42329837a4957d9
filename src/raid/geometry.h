#pragma once

#include <cstdint>
#include <vector>

#include "format/raid.h"

namespace tidemark::raid {

// Where the bytes of a group lie on its members. A *row* is one stripe unit of each member, at the same
// offset; a *column* is an offset within the unit. What a row holds is cut into *cells* of one unit each:
// with parity a cell is a data unit on one member, with mirrors it is the unit that all copies of a set hold,
// and a cell of RAID 0 is a set of one copy.
//
//   RAID 5 of 4 members, left-symmetric (as md's default):      RAID 10 of 4 members, near-2:
//     row 0:  0  1  2  P                                          row 0:  0  0  1  1
//     row 1:  4  5  P  3                                          row 1:  2  2  3  3
//     row 2:  8  P  6  7
//
// RAID 6 puts Q behind P, and the first data unit behind Q. Offsets on a member are relative to its data
// area.
class Geometry {
 public:
  explicit Geometry(const format::RaidShape& shape);

  const format::RaidShape& shape() const { return shape_; }
  std::uint32_t members() const { return shape_.member_count; }
  std::uint32_t parities() const { return parities_; }  // 0, 1 or 2
  bool has_parity() const { return parities_ != 0; }
  std::uint32_t cells() const { return cells_; }              // of a row
  std::uint32_t copies() const { return copies_; }            // of a cell; 1 with parity
  std::uint32_t roles() const { return cells_ + parities_; }  // with parity: cells, then P, then Q
  std::uint64_t unit() const { return shape_.unit_bytes; }
  std::uint64_t row_bytes() const { return std::uint64_t{cells_} * unit(); }  // of data
  std::uint64_t rows() const { return shape_.member_bytes / unit(); }
  std::uint64_t size_bytes() const { return rows() * row_bytes(); }

  // With parity: the member that holds a role in a row, and the reverse.
  std::uint32_t member_of(std::uint64_t row, std::uint32_t role) const;
  std::uint32_t role_of(std::uint64_t row, std::uint32_t member) const;
  // The first member that holds a copy of a cell; the others follow it.
  std::uint32_t first_member(std::uint64_t row, std::uint32_t cell) const;

  // A piece of the group's address space within one cell.
  struct Piece {
    std::uint64_t row = 0;
    std::uint32_t cell = 0;
    std::uint64_t group_offset = 0;
    std::uint64_t member_offset = 0;
    std::uint64_t length_bytes = 0;
  };
  std::vector<Piece> split(std::uint64_t offset, std::uint64_t length_bytes) const;
  Piece piece_at(std::uint64_t offset) const;  // to the end of its cell
  // The address of what lies at an offset of the members that hold a cell.
  std::uint64_t offset_of(std::uint32_t cell, std::uint64_t member_offset) const {
    return member_offset / unit() * row_bytes() + cell * unit() + member_offset % unit();
  }

 private:
  format::RaidShape shape_;
  std::uint32_t parities_ = 0;
  std::uint32_t cells_ = 0;
  std::uint32_t copies_ = 1;
};

const char* level_name(format::RaidLevel level);  // "RAID 5"

}  // namespace tidemark::raid
