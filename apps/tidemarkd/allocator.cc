// The settings of jemalloc, which tidemarkd is linked with instead of the C library's malloc(). jemalloc
// looks for this name in the program; MALLOC_CONF in the environment adds to it.
//
// thp:always: every piece of memory is offered to the kernel as huge pages (madvise). Block data go to disks
// and sockets page by page, and an operation of 1 MiB has one page to look up and pin then instead of 256.
// Source: jemalloc(3), "opt.thp"; docs/decisions/0023-block-data-in-huge-pages.md has what it gave.

extern "C" {
extern const char* const malloc_conf;
const char* const malloc_conf = "thp:always";
}
