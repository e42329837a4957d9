#include "raid/parity.h"

#include <isa-l/erasure_code.h>
#include <isa-l/raid.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace tidemark::raid::parity {

namespace {

constexpr std::size_t kStepBytes = 4096;  // of scratch memory at a time

using Scratch = std::array<std::byte, kStepBytes>;

unsigned char power_of_g(std::uint32_t power) {
  unsigned char value = 1;
  for (std::uint32_t i = 0; i < power; ++i) value = gf_mul(value, 2);
  return value;
}

// Multiplies by one constant. Length: a multiple of 32.
class Multiplier {
 public:
  explicit Multiplier(unsigned char factor) { gf_vect_mul_init(factor, table_.data()); }
  void operator()(const std::byte* from, std::byte* to, std::size_t length_bytes) {
    const int wrong =
        gf_vect_mul(static_cast<int>(length_bytes), table_.data(), const_cast<std::byte*>(from), to);
    TM_ASSERT(wrong == 0);
  }

 private:
  std::array<unsigned char, 32> table_{};
};

void xor_all(const std::vector<std::byte*>& sources, std::byte* to, std::size_t length_bytes) {
  std::vector<void*> vectors(sources.begin(), sources.end());
  vectors.push_back(to);
  const int wrong = xor_gen(static_cast<int>(vectors.size()), static_cast<int>(length_bytes), vectors.data());
  TM_ASSERT(wrong == 0);
}

void generate_pq(const std::vector<std::byte*>& data, std::byte* p, std::byte* q, std::size_t length_bytes) {
  std::vector<void*> vectors(data.begin(), data.end());
  vectors.push_back(p);
  vectors.push_back(q);
  const int wrong = pq_gen(static_cast<int>(vectors.size()), static_cast<int>(length_bytes), vectors.data());
  TM_ASSERT(wrong == 0);
}

// P and Q of the data units from `at` on, as if x and y were zeroes.
void generate_without(std::span<std::byte* const> data, std::uint32_t x, std::uint32_t y, std::size_t at,
                      std::byte* p, std::byte* q, std::size_t length_bytes) {
  alignas(64) static constexpr Scratch kZeroes{};
  std::vector<std::byte*> here;
  for (std::uint32_t i = 0; i < data.size(); ++i) {
    // Sources are only read.
    here.push_back(i == x || i == y ? const_cast<std::byte*>(kZeroes.data()) : data[i] + at);
  }
  generate_pq(here, p, q, length_bytes);
}

void recover_by_p(std::span<std::byte* const> roles, std::uint32_t cells, std::uint32_t missing,
                  std::size_t length_bytes) {
  std::vector<std::byte*> sources;
  for (std::uint32_t role = 0; role <= cells; ++role) {
    if (role != missing) sources.push_back(roles[role]);
  }
  xor_all(sources, roles[missing], length_bytes);
}

void recover_by_q(std::span<std::byte* const> roles, std::uint32_t cells, std::uint32_t x,
                  std::size_t length_bytes) {
  Multiplier unscale(gf_inv(power_of_g(x)));
  alignas(64) Scratch p, q;
  for (std::size_t at = 0; at < length_bytes; at += kStepBytes) {
    const std::size_t step = std::min(kStepBytes, length_bytes - at);
    generate_without(roles.first(cells), x, x, at, p.data(), q.data(), step);
    add(q.data(), roles[cells + 1] + at, step);
    unscale(q.data(), roles[x] + at, step);
  }
}

void recover_two(std::span<std::byte* const> roles, std::uint32_t cells, std::uint32_t x, std::uint32_t y,
                 std::size_t length_bytes) {
  const unsigned char ratio = power_of_g(y - x);
  const unsigned char inverse = gf_inv(static_cast<unsigned char>(ratio ^ 1));
  Multiplier scale_p(gf_mul(ratio, inverse));
  Multiplier scale_q(gf_mul(gf_inv(power_of_g(x)), inverse));
  alignas(64) Scratch p, q, product;
  for (std::size_t at = 0; at < length_bytes; at += kStepBytes) {
    const std::size_t step = std::min(kStepBytes, length_bytes - at);
    generate_without(roles.first(cells), x, y, at, p.data(), q.data(), step);
    add(p.data(), roles[cells] + at, step);
    add(q.data(), roles[cells + 1] + at, step);
    scale_p(p.data(), roles[x] + at, step);
    scale_q(q.data(), product.data(), step);
    add(roles[x] + at, product.data(), step);
    add(p.data(), roles[x] + at, step);
    std::memcpy(roles[y] + at, p.data(), step);
  }
}

}  // namespace

void add(std::byte* to, const std::byte* from, std::size_t length_bytes) {
  for (std::size_t at = 0; at < length_bytes; at += 32) {
    std::array<std::uint64_t, 4> a;
    std::array<std::uint64_t, 4> b;
    std::memcpy(a.data(), to + at, 32);
    std::memcpy(b.data(), from + at, 32);
    for (std::size_t i = 0; i < 4; ++i) a[i] ^= b[i];
    std::memcpy(to + at, a.data(), 32);
  }
}

void add_scaled(std::byte* to, const std::byte* from, std::uint32_t power, std::size_t length_bytes) {
  Multiplier scale(power_of_g(power));
  alignas(64) Scratch product;
  for (std::size_t at = 0; at < length_bytes; at += kStepBytes) {
    const std::size_t step = std::min(kStepBytes, length_bytes - at);
    scale(from + at, product.data(), step);
    add(to + at, product.data(), step);
  }
}

void generate(std::span<std::byte* const> roles, std::uint32_t parities, std::size_t length_bytes) {
  const std::vector<std::byte*> data(roles.begin(), roles.end() - parities);
  if (parities == 1) xor_all(data, roles[data.size()], length_bytes);
  if (parities == 2) generate_pq(data, roles[data.size()], roles[data.size() + 1], length_bytes);
}

void recover(std::span<std::byte* const> roles, std::uint32_t parities,
             const std::vector<std::uint32_t>& missing, std::size_t length_bytes) {
  TM_ASSERT(missing.size() <= parities);
  const auto cells = static_cast<std::uint32_t>(roles.size()) - parities;
  std::vector<std::uint32_t> data;
  for (const std::uint32_t role : missing) {
    if (role < cells) data.push_back(role);
  }
  const bool p_is_missing = std::ranges::find(missing, cells) != missing.end();
  if (data.size() == 2) recover_two(roles, cells, data[0], data[1], length_bytes);
  if (data.size() == 1 && p_is_missing) recover_by_q(roles, cells, data[0], length_bytes);
  if (data.size() == 1 && !p_is_missing) recover_by_p(roles, cells, data[0], length_bytes);
  // The data are whole now. What is not missing is left as it is, also where it does not fit.
  const bool q_is_missing = std::ranges::find(missing, cells + 1) != missing.end();
  const std::vector<std::byte*> all(roles.begin(), roles.begin() + cells);
  if (p_is_missing) xor_all(all, roles[cells], length_bytes);
  if (q_is_missing) {
    const Buffer scratch = Buffer::allocate(length_bytes);
    generate_pq(all, scratch.data(), roles[cells + 1], length_bytes);
  }
}

}  // namespace tidemark::raid::parity
