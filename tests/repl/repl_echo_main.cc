#include <cstdio>
#include <cstdlib>
#include <string>

#include "common/daemon/tool.h"
#include "common/repl/repl.h"

/// Says what it reads: how common/repl is seen by whoever types.
int main(int argc, char** argv) {
  using namespace ds;  // NOLINT(google-build-using-namespace)
  daemon::Tool tool({.name = "repl-echo", .summary = "Says what it reads."});
  repl::ReplOptions options{.program = "repl-echo"};
  tool.flags().add_option("--history", options.history_file, "");
  tool.flags().add_option("--lines", options.history_lines_max, "");
  tool.flags().add_option("--line-bytes", options.line_bytes_max, "");
  if (const auto code = tool.Parse(argc, argv)) return *code;
  tool.BeginWork();
  options.interrupt_fd = tool.interrupt_fd();
  repl::Repl repl(options);
  for (;;) {
    const repl::Repl::Input input = repl.Next();
    switch (input.kind) {
      case repl::Repl::Kind::kLine:
        std::printf("got [%s]\n", input.line.c_str());
        break;
      case repl::Repl::Kind::kTooLong:
        std::printf("too long\n");
        break;
      case repl::Repl::Kind::kEnd:
        std::printf("end\n");
        return 0;
      case repl::Repl::Kind::kInterrupted:
        return tool.InterruptedExitCode();
    }
  }
}
