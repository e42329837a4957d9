#include "nbd/handshake.h"

#include <algorithm>

#include "base/names.h"

namespace tidemark::nbd {

namespace {

constexpr std::size_t kReservedZeroes = 124;  // behind the answer to EXPORT_NAME, unless NO_ZEROES
constexpr std::size_t kDescriptionLengthMax = 1000;
static_assert(4 * kDescriptionLengthMax + 3 <= kStringBytesMax);  // every byte escaped
constexpr std::uint32_t kClientFlagsKnown = kClientFlagFixedNewstyle | kClientFlagNoZeroes;

Bytes no_data() {
  return {};
}

}  // namespace

io::Task<Result<std::optional<Negotiated>>> Handshake::run() {
  encode_greeting(out_);
  TM_CO_TRY(co_await send());
  TM_CO_TRY(co_await receive(4));
  WireDecoder in(input_.unread().first(4));
  const std::uint32_t client_flags = in.u32();
  input_.consume(4);
  if ((client_flags & ~kClientFlagsKnown) != 0) {
    co_return fail(ErrorCode::kInvalid, "the client set unknown handshake flags " +
                                            std::to_string(client_flags) + "; it was disconnected");
  }
  fixed_newstyle_ = (client_flags & kClientFlagFixedNewstyle) != 0;
  no_zeroes_ = (client_flags & kClientFlagNoZeroes) != 0;

  for (;;) {
    if (stopping_) co_return fail(ErrorCode::kShutdown, "the server is shutting down");
    TM_CO_TRY_ASSIGN(const OptionHeader header, co_await next_option());
    if (lacks_tls(header.option)) {
      TM_CO_TRY(co_await demand_tls(header));
      continue;
    }
    if (header.length > kOptionBytesMax) {
      TM_CO_TRY(co_await refuse_long_option(header));
      continue;
    }
    TM_CO_TRY(co_await receive(header.length));
    const Bytes unread = input_.unread().first(header.length);
    std::vector<std::byte> data(unread.begin(), unread.end());
    input_.consume(header.length);

    if (header.option == kOptionAbort) {
      add_reply(kOptionAbort, kReplyAck);
      // The client may be gone already; it owes us nothing.
      const Result<void> sent = co_await send();
      static_cast<void>(sent);
      co_return std::optional<Negotiated>{};
    }
    if (stopping_) {
      if (header.option != kOptionExportName) {
        add_error(header.option, kReplyErrorShutdown, "the server is shutting down");
        TM_CO_TRY(co_await send());
      }
      co_return fail(ErrorCode::kShutdown, "the server is shutting down");
    }
    if (header.option == kOptionExportName) co_return co_await answer_export_name(std::move(data));
    if (header.option == kOptionGo) {
      TM_CO_TRY_ASSIGN(std::optional<Negotiated> negotiated, co_await answer_go(std::move(data)));
      if (negotiated.has_value()) co_return negotiated;
      continue;
    }
    if (header.option == kOptionStartTls) {
      TM_CO_TRY(co_await start_tls(!data.empty()));
      continue;
    }
    TM_CO_TRY(co_await answer(header.option, std::move(data)));
  }
}

// At least `bytes` unread ones.
io::Task<Result<void>> Handshake::receive(std::size_t bytes) {
  while (input_.unread().size() < bytes) {
    Buffer space = input_.space_for(bytes);
    waiting_ = true;
    Result<std::size_t> got = co_await stream_->read_some(std::move(space));
    waiting_ = false;
    if (!got.ok()) co_return std::move(got).error();
    if (*got == 0) co_return fail(ErrorCode::kClosed, "the client left during the handshake");
    input_.received(*got);
  }
  co_return Result<void>{};
}

io::Task<Result<void>> Handshake::skip(std::uint64_t bytes) {
  while (bytes > 0) {
    TM_CO_TRY(co_await receive(1));
    const std::size_t part = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, input_.unread().size()));
    input_.consume(part);
    bytes -= part;
  }
  co_return Result<void>{};
}

io::Task<Result<void>> Handshake::send() {
  if (out_.size() == 0) co_return Result<void>{};
  std::vector<Buffer> pieces;
  pieces.push_back(Buffer::copy_of(out_.bytes()));
  out_.clear();
  co_return co_await stream_->write(std::move(pieces));
}

io::Task<Result<OptionHeader>> Handshake::next_option() {
  TM_CO_TRY(co_await receive(OptionHeader::kBytes));
  const OptionHeader header = OptionHeader::decode(input_.unread().first(OptionHeader::kBytes));
  input_.consume(OptionHeader::kBytes);
  if (header.magic != kOptionMagic) {
    co_return fail(ErrorCode::kInvalid, "the client sent an option without its magic; it was disconnected");
  }
  co_return header;
}

io::Task<Result<void>> Handshake::refuse_long_option(OptionHeader header) {
  if (header.length > kOptionSkipBytesMax || header.option == kOptionExportName) {
    co_return fail(ErrorCode::kInvalid, "the client announced an option of " + std::to_string(header.length) +
                                            " bytes; it was disconnected");
  }
  TM_CO_TRY(co_await skip(header.length));
  const bool known = header.option == kOptionInfo || header.option == kOptionGo ||
                     header.option == kOptionListMetaContext || header.option == kOptionSetMetaContext;
  if (header.option == kOptionSetMetaContext) context_selected_ = false;
  if (header.option == kOptionList || header.option == kOptionStructuredReply ||
      header.option == kOptionStartTls) {
    add_error(header.option, kReplyErrorInvalid, "this option takes no data");
  } else if (known) {
    add_error(header.option, kReplyErrorTooBig, "the option has more than 65536 bytes of data");
  } else {
    add_error(header.option, kReplyErrorUnsupported, "the option is not known here");
  }
  co_return co_await send();
}

bool Handshake::lacks_tls(std::uint32_t option) const {
  return tls_.required && !encrypted_ && option != kOptionStartTls && option != kOptionAbort;
}

io::Task<Result<void>> Handshake::demand_tls(OptionHeader header) {
  if (header.option == kOptionExportName || header.length > kOptionSkipBytesMax) {
    co_return fail(ErrorCode::kInvalid, "the client asked for an export without TLS; it was disconnected");
  }
  TM_CO_TRY(co_await skip(header.length));
  add_error(header.option, kReplyErrorTlsRequired, "this server requires TLS; begin with STARTTLS");
  co_return co_await send();
}

io::Task<Result<void>> Handshake::start_tls(bool has_data) {
  const bool forbidden = tls_.upgrade != nullptr && !fixed_newstyle_;
  if (tls_.upgrade == nullptr || forbidden || has_data || encrypted_) {
    if (has_data) {
      add_error(kOptionStartTls, kReplyErrorInvalid, "this option takes no data");
    } else if (encrypted_) {
      add_error(kOptionStartTls, kReplyErrorInvalid, "the connection has TLS already");
    } else if (forbidden) {
      add_error(kOptionStartTls, kReplyErrorPolicy, "TLS is for clients of fixed newstyle");
    } else {
      add_error(kOptionStartTls, kReplyErrorUnsupported, "this server does not offer TLS");
    }
    co_return co_await send();
  }
  if (!input_.unread().empty()) {
    co_return fail(ErrorCode::kInvalid,
                   "the client sent more behind STARTTLS, in the clear; it was disconnected");
  }
  add_reply(kOptionStartTls, kReplyAck);
  TM_CO_TRY(co_await send());
  waiting_ = true;
  Result<std::unique_ptr<io::Stream>> upgraded = co_await tls_.upgrade->upgrade(std::move(stream_));
  waiting_ = false;
  if (!upgraded.ok()) co_return std::move(upgraded).error();
  stream_ = std::move(upgraded).value();
  encrypted_ = true;
  // Whoever was on the way could have said it.
  structured_replies_ = false;
  context_selected_ = false;
  context_export_name_.clear();
  co_return Result<void>{};
}

io::Task<Result<void>> Handshake::answer(std::uint32_t option, std::vector<std::byte> data) {
  switch (option) {
    case kOptionList:
      co_return co_await answer_list(std::move(data));
    case kOptionInfo:
      co_return co_await answer_info(std::move(data));
    case kOptionListMetaContext:
    case kOptionSetMetaContext:
      co_return co_await answer_meta_context(option, std::move(data));
    case kOptionStructuredReply:
      if (data.empty()) {
        structured_replies_ = true;
        add_reply(option, kReplyAck);
      } else {
        add_error(option, kReplyErrorInvalid, "this option takes no data");
      }
      break;
    default:
      add_error(option, kReplyErrorUnsupported, "the option is not known here");
  }
  co_return co_await send();
}

io::Task<Result<void>> Handshake::answer_list(std::vector<std::byte> data) {
  if (!data.empty()) {
    add_error(kOptionList, kReplyErrorInvalid, "this option takes no data");
    co_return co_await send();
  }
  const Result<std::vector<std::string>> names = co_await directory_.list();
  if (!names.ok()) {
    add_error(kOptionList, option_error(names.error().code), names.error().message);
    co_return co_await send();
  }
  for (const std::string& name : *names) {
    if (name.size() > kStringBytesMax) continue;
    WireEncoder entry;
    entry.u32(static_cast<std::uint32_t>(name.size()));
    entry.text(name);
    encode_option_reply(out_, kOptionList, kReplyServer, entry.bytes());
    if (out_.size() >= kReplyBytes) TM_CO_TRY(co_await send());
  }
  add_reply(kOptionList, kReplyAck);
  co_return co_await send();
}

io::Task<Result<void>> Handshake::answer_info(std::vector<std::byte> data) {
  const Result<InfoOption> asked = InfoOption::decode(data);
  if (!asked.ok()) {
    add_error(kOptionInfo, kReplyErrorInvalid, asked.error().message);
    co_return co_await send();
  }
  std::string name = asked->export_name;
  const Result<ExportInfo> info = co_await directory_.describe(std::move(name));
  if (!info.ok()) {
    add_error(kOptionInfo, option_error(info.error().code), info.error().message);
    co_return co_await send();
  }
  add_information(kOptionInfo, *asked, *info);
  add_reply(kOptionInfo, kReplyAck);
  co_return co_await send();
}

io::Task<Result<void>> Handshake::answer_meta_context(std::uint32_t option, std::vector<std::byte> data) {
  // SET replaces what was selected before, also when it fails.
  const bool is_set = option == kOptionSetMetaContext;
  if (is_set) context_selected_ = false;
  Result<MetaContextOption> asked = MetaContextOption::decode(data);
  if (!structured_replies_ || !asked.ok()) {
    add_error(option, kReplyErrorInvalid,
              !asked.ok() ? asked.error().message : "metadata contexts need structured replies first");
    co_return co_await send();
  }
  std::string name = asked->export_name;
  const Result<ExportInfo> info = co_await directory_.describe(std::move(name));
  if (!info.ok()) {
    add_error(option, option_error(info.error().code), info.error().message);
    co_return co_await send();
  }
  // "base:" is a wildcard to LIST and nothing to SET; no query at all means all to LIST and none to SET.
  const bool matches =
      (!is_set && asked->queries.empty()) ||
      std::any_of(asked->queries.begin(), asked->queries.end(), [&](const std::string& query) {
        return query == kAllocationContext || (!is_set && query == "base:");
      });
  if (matches) {
    WireEncoder context;
    context.u32(is_set ? kAllocationContextId : 0);
    context.text(kAllocationContext);
    encode_option_reply(out_, option, kReplyMetaContext, context.bytes());
  }
  if (is_set && matches) {
    context_selected_ = true;
    context_export_name_ = asked->export_name;
  }
  add_reply(option, kReplyAck);
  co_return co_await send();
}

io::Task<Handshake::Outcome> Handshake::answer_go(std::vector<std::byte> data) {
  const Result<InfoOption> asked = InfoOption::decode(data);
  if (!asked.ok()) {
    add_error(kOptionGo, kReplyErrorInvalid, asked.error().message);
    TM_CO_TRY(co_await send());
    co_return std::optional<Negotiated>{};
  }
  std::string name = asked->export_name;
  Result<Negotiated> opened = co_await open(std::move(name));
  if (!opened.ok()) {
    add_error(kOptionGo, option_error(opened.error().code), opened.error().message);
    TM_CO_TRY(co_await send());
    co_return std::optional<Negotiated>{};
  }
  add_information(kOptionGo, *asked, opened->target->info());
  add_reply(kOptionGo, kReplyAck);
  TM_CO_TRY(co_await send());
  co_return std::optional<Negotiated>(std::move(opened).value());
}

io::Task<Handshake::Outcome> Handshake::answer_export_name(std::vector<std::byte> data) {
  std::string name(reinterpret_cast<const char*>(data.data()), data.size());
  TM_CO_TRY(validate_export_name(name));
  TM_CO_TRY_ASSIGN(Negotiated opened, co_await open(std::move(name)));
  out_.u64(opened.agreement.size_bytes);
  out_.u16(transmission_flags(opened.agreement));
  if (!no_zeroes_) out_.zeroes(kReservedZeroes);
  TM_CO_TRY(co_await send());
  co_return std::optional<Negotiated>(std::move(opened));
}

io::Task<Result<Negotiated>> Handshake::open(std::string name) {
  opening_ = name;
  std::string asked_name = name;
  std::string client = client_;
  Result<std::unique_ptr<BlockTarget>> target =
      co_await directory_.open(std::move(asked_name), std::move(client));
  if (!target.ok() || stopping_) {
    opening_.reset();
    if (!target.ok()) co_return std::move(target).error();
    co_return fail(ErrorCode::kShutdown, "the server is shutting down");
  }
  Negotiated negotiated;
  negotiated.target = std::move(target).value();
  negotiated.agreement = agreement_for(name, negotiated.target->info());
  negotiated.export_name = std::move(name);
  co_return negotiated;
}

Agreement Handshake::agreement_for(const std::string& name, const ExportInfo& info) const {
  Agreement agreement;
  agreement.size_bytes = info.size_bytes;
  agreement.read_only = info.read_only;
  agreement.multi_conn = info.multi_conn;
  agreement.structured_replies = structured_replies_;
  agreement.allocation_context = structured_replies_ && context_selected_ && context_export_name_ == name;
  return agreement;
}

void Handshake::add_reply(std::uint32_t option, std::uint32_t type) {
  encode_option_reply(out_, option, type, no_data());
}

void Handshake::add_error(std::uint32_t option, std::uint32_t type, const std::string& message) {
  const std::string text = displayable(message);
  encode_option_reply(out_, option, type, as_bytes(text));
}

void Handshake::add_information(std::uint32_t option, const InfoOption& asked, const ExportInfo& info) {
  const auto add = [&](const WireEncoder& item) {
    encode_option_reply(out_, option, kReplyInfo, item.bytes());
  };
  WireEncoder basics;
  basics.u16(kInfoExport);
  basics.u64(info.size_bytes);
  basics.u16(transmission_flags(agreement_for(asked.export_name, info)));
  add(basics);
  // Our sizes are the defaults of the protocol, so a client that did not ask needs not be told.
  if (asked.asks_for(kInfoBlockSize)) {
    WireEncoder sizes;
    sizes.u16(kInfoBlockSize);
    sizes.u32(kBlockSizeMinimum);
    sizes.u32(kBlockSizePreferred);
    sizes.u32(kPayloadBytesMax);
    add(sizes);
  }
  if (asked.asks_for(kInfoName)) {
    WireEncoder name;
    name.u16(kInfoName);
    name.text(std::string_view(info.name).substr(0, kStringBytesMax));
    add(name);
  }
  if (asked.asks_for(kInfoDescription)) {
    WireEncoder description;
    description.u16(kInfoDescription);
    description.text(printable(info.description, kDescriptionLengthMax));
    add(description);
  }
}

}  // namespace tidemark::nbd
