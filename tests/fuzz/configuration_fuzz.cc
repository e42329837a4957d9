// What a node is told before it starts: a configuration file, and a command line. The first byte chooses: the
// rest is the file; or its lines are the arguments; or both, divided by the first empty line. And the bytes
// are the recipe of a file and of arguments whose keys all are known. What is taken
// must keep what the rest of the program relies on, and what is refused must say so in one printable line.
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "../../apps/tidemarkd/options.h"
#include "base/names.h"
#include "fuzz/fuzz.h"
#include "io/stream.h"
#include "node/node.h"

namespace tidemark {
namespace {

// A file without a name on a disk; `path()` opens it.
class MemoryFile {
 public:
  explicit MemoryFile(const std::string& content) : descriptor_(::memfd_create("configuration", 0)) {
    TM_ASSERT(descriptor_ >= 0);
    TM_ASSERT(::write(descriptor_, content.data(), content.size()) == static_cast<ssize_t>(content.size()));
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(descriptor_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

void check_options(const DaemonOptions& options) {
  TM_ASSERT(!options.data_folder.empty());
  TM_ASSERT(validate_name("node name", options.name).ok());
  TM_ASSERT(options.cache_size_bytes >= node::kCacheSizeBytesMin);
  TM_ASSERT(options.disk_size_bytes >= 64 << 20 && options.disk_size_bytes % 4096 == 0);
  TM_ASSERT(!options.spin_max_us || (*options.spin_max_us >= 0 && *options.spin_max_us <= 10'000));
  TM_ASSERT(options.has_tls() == !options.tls_key.empty() &&
            options.has_tls() == !options.tls_authorities.empty());
  for (const auto* addresses : {&options.nbd, &options.control, &options.replication}) {
    TM_ASSERT(!addresses->empty());
    for (const std::string& address : *addresses) {
      const auto parsed = io::Address::parse(address);
      TM_ASSERT(parsed.ok());
      const bool anywhere =
          addresses == &options.nbd ||
          (addresses == &options.replication && (options.has_tls() || options.replication_plaintext));
      TM_ASSERT(anywhere || parsed->is_local());
    }
  }
}

void try_arguments(std::vector<std::string> arguments) {
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  const auto parsed = parse_command_line(static_cast<int>(arguments.size()), pointers.data());
  if (!parsed.ok()) {
    TM_ASSERT(!parsed.error().message.empty());
    return;
  }
  if (!parsed->done) check_options(parsed->options);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at).c_str());  // an argument ends at a zero byte
    at = end + 1;
  }
  return lines;
}

constexpr const char* kKeys[] = {"data",           "name",        "nbd",         "control",
                                 "control-tokens", "replication", "cache-size",  "disk-size",
                                 "disk",           "raid",        "stripe-unit", "rebuild-rate",
                                 "pool-alarm",     "spin",        "tls-cert",    "tls-key",
                                 "tls-ca",         "nbd-tls",     "nbd-tls-ca",  "replication-plaintext",
                                 "recover",        "unknown"};
constexpr const char* kValues[] = {"/d",
                                   "d",
                                   "tokyo",
                                   "unix:/s",
                                   "tcp:127.0.0.1:0",
                                   "tcp:10.0.0.1:1",
                                   "64M",
                                   "4K",
                                   "1",
                                   "0",
                                   "80%",
                                   "101%",
                                   "0.05ms",
                                   "1s",
                                   "off",
                                   "offered",
                                   "required",
                                   "5",
                                   "10",
                                   "5000",
                                   "x y",
                                   "",
                                   "1T",
                                   "7Q"};

// One line of a configuration file: the value as a text, a list of texts, a list of others, or as it is.
std::string file_line(const std::string& key, unsigned form, const std::string& value) {
  const std::string quoted = "\"" + value + "\"";
  switch (form % 6) {
    case 0:
      return key + " = [" + quoted + ", \"unix:/t\"]\n";
    case 1:
      return key + " = [1, true]\n";
    case 2:
      return key + " = true\n";
    case 3:
      return key + " = " + value + "\n";
    default:
      return key + " = " + quoted + "\n";
  }
}

// Three bytes for each line or argument.
void try_recipe(Bytes recipe) {
  std::string file_text;
  std::vector<std::string> arguments;
  for (; recipe.size() >= 3; recipe = recipe.subspan(3)) {
    const auto form = static_cast<unsigned>(recipe[0]);
    const std::string key = kKeys[static_cast<unsigned>(recipe[1]) % std::size(kKeys)];
    const std::string value = kValues[static_cast<unsigned>(recipe[2]) % std::size(kValues)];
    if (form < 128) {
      file_text += file_line(key, form, value);
    } else {
      arguments.push_back("--" + key);
      if (form < 240) arguments.push_back(value);
    }
  }
  const MemoryFile file(file_text);
  arguments.insert(arguments.begin(), {"tidemarkd", "--config", file.path(), "--data", "/d"});
  try_arguments(std::move(arguments));
}

}  // namespace
}  // namespace tidemark

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tidemark;
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t gap = std::min(text.find("\n\n"), text.size());
  const bool has_file = data[0] % 3 != 1;
  const bool has_lines = data[0] % 3 != 0;
  const MemoryFile file(!has_lines ? text : text.substr(0, gap));
  std::vector<std::string> arguments{"tidemarkd"};
  if (has_file) arguments.insert(arguments.end(), {"--config", file.path()});
  if (has_lines) {
    const std::vector<std::string> more =
        lines_of(has_file ? text.substr(std::min(gap + 2, text.size())) : text);
    arguments.insert(arguments.end(), more.begin(), more.end());
  }
  try_arguments(arguments);
  // The same where nothing else is missing.
  arguments.insert(arguments.end(), {"--data", "/d"});
  try_arguments(std::move(arguments));
  try_recipe({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
