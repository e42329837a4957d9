#include "base/digest.h"

#include <openssl/sha.h>

namespace tidemark {

Digest digest_of(Bytes bytes) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> hash{};
  // One-shot hashing of bytes in memory fails only where there is no memory left, which ends the process.
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), hash.data());
  Digest digest{};
  for (std::size_t word = 0; word < digest.size(); ++word) {
    for (std::size_t byte = 0; byte < 4; ++byte) digest[word] = digest[word] << 8 | hash[word * 4 + byte];
  }
  return digest;
}

}  // namespace tidemark
