#pragma once

namespace tidemark {

// Lack of memory ends the process at once, with one line on standard error and this exit status: to the disk
// and to every peer it is a crash, and what a crash leaves is what all the rest is built for
// (docs/decisions/0011-lack-of-memory-ends-the-process.md).
inline constexpr int kOutOfMemoryStatus = 71;  // EX_OSERR of sysexits.h

// Says so and ends the process. Nothing is destroyed, flushed or written. Any thread; allocates nothing.
[[noreturn]] void end_out_of_memory() noexcept;

// The same where the system gives no further thread, for lack of memory or by a limit of its own.
[[noreturn]] void end_without_thread() noexcept;

// From now on `new`, wherever it stands, also in a library and on another thread, calls end_out_of_memory()
// where it would throw std::bad_alloc; and a library that is not given a thread, and does not catch that,
// calls end_without_thread(). What a program's main() calls first.
void end_process_when_out_of_memory() noexcept;

}  // namespace tidemark
