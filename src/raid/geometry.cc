#include "raid/geometry.h"

#include <algorithm>

namespace tidemark::raid {

using format::RaidLevel;

Geometry::Geometry(const format::RaidShape& shape) : shape_(shape) {
  const std::uint32_t count = shape.member_count;
  switch (shape.level) {
    case RaidLevel::k0:
      cells_ = count;
      break;
    case RaidLevel::k1:
      cells_ = 1;
      copies_ = count;
      break;
    case RaidLevel::k5:
      parities_ = 1;
      cells_ = count - 1;
      break;
    case RaidLevel::k6:
      parities_ = 2;
      cells_ = count - 2;
      break;
    case RaidLevel::k10:
      cells_ = count / 2;
      copies_ = 2;
      break;
  }
}

std::uint32_t Geometry::member_of(std::uint64_t row, std::uint32_t role) const {
  const std::uint32_t count = members();
  const auto parity = static_cast<std::uint32_t>(count - 1 - row % count);
  // P, then Q, then the cells, round the members.
  const std::uint32_t behind_p = role < cells_ ? parities_ + role : role - cells_;
  return (parity + behind_p) % count;
}

std::uint32_t Geometry::role_of(std::uint64_t row, std::uint32_t member) const {
  const std::uint32_t count = members();
  const auto parity = static_cast<std::uint32_t>(count - 1 - row % count);
  const std::uint32_t behind_p = (member + count - parity) % count;
  return behind_p < parities_ ? cells_ + behind_p : behind_p - parities_;
}

std::uint32_t Geometry::first_member(std::uint64_t row, std::uint32_t cell) const {
  return has_parity() ? member_of(row, cell) : cell * copies_;
}

Geometry::Piece Geometry::piece_at(std::uint64_t offset) const {
  Piece piece;
  piece.row = offset / row_bytes();
  const std::uint64_t in_row = offset % row_bytes();
  piece.cell = static_cast<std::uint32_t>(in_row / unit());
  const std::uint64_t column = in_row % unit();
  piece.group_offset = offset;
  piece.member_offset = piece.row * unit() + column;
  piece.length_bytes = unit() - column;
  return piece;
}

std::vector<Geometry::Piece> Geometry::split(std::uint64_t offset, std::uint64_t length_bytes) const {
  std::vector<Piece> pieces;
  for (std::uint64_t at = offset; at < offset + length_bytes;) {
    Piece piece = piece_at(at);
    piece.length_bytes = std::min(piece.length_bytes, offset + length_bytes - at);
    at += piece.length_bytes;
    pieces.push_back(piece);
  }
  return pieces;
}

const char* level_name(RaidLevel level) {
  switch (level) {
    case RaidLevel::k0:
      return "RAID 0";
    case RaidLevel::k1:
      return "RAID 1";
    case RaidLevel::k5:
      return "RAID 5";
    case RaidLevel::k6:
      return "RAID 6";
    case RaidLevel::k10:
      return "RAID 10";
  }
  return "";
}

}  // namespace tidemark::raid
