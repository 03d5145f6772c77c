#!/usr/bin/env python3
"""Rules about the files of the source tree that neither a compiler nor a linter checks.

usage: tree_test.py [SOURCE_FOLDER]

Each check is a function of one file (or of all of them) that yields what it finds. Before the tree
is looked at, each is shown snippets that break its rule and snippets that do not: that it finds
nothing means something only of a check that is known to find what is there.
"""

import os
import re
import stat
import subprocess
import sys

COLUMNS_MAX = 100
# Full of bad snippets, on purpose.
THIS_FILE = "tests/tree/tree_test.py"


class File:
    """A file of the tree: `path` is relative to its root, with slashes."""

    def __init__(self, path, text, executable=False):
        self.path = path
        self.text = text
        self.executable = executable
        self.name = path.rsplit("/", 1)[-1]
        self.suffix = os.path.splitext(self.name)[1]
        self.lines = text.split("\n")

    def is_cpp(self):
        return self.suffix in (".h", ".cc")

    def is_markdown(self):
        return self.suffix == ".md"

    def is_cmake(self):
        return self.suffix == ".cmake" or self.name == "CMakeLists.txt"

    def is_shell(self):
        return self.suffix == ".sh" or re.match(r"#!.*\b(ba|da)?sh\b", self.lines[0]) is not None

    def is_python(self):
        return self.suffix == ".py" or re.match(r"#!.*\bpython3?\b", self.lines[0]) is not None


def without_cpp_comments(text):
    """The text with comments blanked out; the lines stay where they are."""
    token = re.compile(
        r'R"(?P<mark>[^()\\ ]{0,16})\(.*?\)(?P=mark)"'  # raw string
        r'|"(?:\\.|[^"\\\n])*"'
        r"|(?<![0-9a-zA-Z_])'(?:\\.|[^'\\\n])+'"  # not the separator of 10'000
        r"|(?P<comment>//[^\n]*|/\*.*?\*/)",
        re.DOTALL)

    def blank(match):
        if match.group("comment") is None:
            return match.group(0)
        return re.sub(r"[^\n]", " ", match.group(0))

    return token.sub(blank, text)


def matching_lines(pattern, lines):
    """(line number, what matched) for each line that matches."""
    for number, line in enumerate(lines, 1):
        match = pattern.search(line)
        if match:
            yield number, match.group(0).strip()


# ---- Checks of one file: yield (line number, message).


def check_columns(file):
    if not file.is_cpp():
        return
    for number, line in enumerate(file.lines, 1):
        if len(line) > COLUMNS_MAX:
            yield number, f"{len(line)} columns, at most {COLUMNS_MAX} are allowed"


def check_tabs(file):
    if file.is_cpp():
        for number, _ in matching_lines(re.compile("\t"), file.lines):
            yield number, "a tab"


def check_pragma_once(file):
    if file.suffix == ".h" and file.lines[0] != "#pragma once":
        yield 1, "a header begins with #pragma once"


CORE_IMPURITY = re.compile(
    r"::now\s*\(|\brandom_device\b|\bspdlog\b|\bgrpc\w*|\bsys/socket\.h\b|\b(?:secure_)?getenv\b"
    r"|\bstd::(?:\w*mutex|j?thread|this_thread|atomic\w*|condition_variable\w*|async)\b")


def check_core_is_pure(file):
    if file.is_cpp() and re.search(r"(^|/)core/", file.path):
        code = without_cpp_comments(file.text).split("\n")
        for number, what in matching_lines(CORE_IMPURITY, code):
            yield number, f"{what}: a core has no clock, threads, randomness or I/O of its own"


CPP_SLEEP = re.compile(r"\bsleep_(?:for|until)\b|\b(?:u|nano|clock_nano)?sleep\s*\(")
SHELL_SLEEP = re.compile(r"(?:^|[;&|({]|\b(?:do|then|else)\b)\s*sleep\b")


def check_sleep(file):
    if not file.path.startswith("tests/") or file.path.startswith("tests/harness/"):
        return
    if file.is_cpp():
        found = matching_lines(CPP_SLEEP, without_cpp_comments(file.text).split("\n"))
    elif file.is_python() or file.is_shell():
        pattern = CPP_SLEEP if file.is_python() else SHELL_SLEEP
        found = matching_lines(pattern, [re.sub(r"^\s*#.*", "", line) for line in file.lines])
    else:
        return
    for number, what in found:
        yield number, f"{what}: a test waits by Eventually(), a ready line or virtual time"


RAW_GRPC = re.compile(
    r"\bgrpc::(?:ServerBuilder\b|Create\w*Channel\w*|experimental::CreateCustomChannel\w*)"
    r"|\bgrpc::ClientContext\s+\w+\s*[;({=]|\b(?:make_unique|make_shared)<grpc::ClientContext>"
    r"|\bnew grpc::ClientContext\b")


def check_grpc_is_made_by_common_rpc(file):
    if file.is_cpp() and not file.path.startswith("common/rpc/"):
        code = without_cpp_comments(file.text).split("\n")
        for number, what in matching_lines(RAW_GRPC, code):
            yield number, f"{what}: servers, channels and contexts of calls come from common/rpc"


GENERATED_INCLUDE = re.compile(r'#include "proto/[^"]*\.pb\.h"')


def check_generated_headers_stay_out_of_headers(file):
    if file.suffix == ".h" and not file.path.startswith("tests/"):
        for number, _ in matching_lines(GENERATED_INCLUDE, file.lines):
            yield number, "a generated header in a header: include it in .cc files only"


UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX)\b")


def check_unfinished(file):
    for number, what in matching_lines(UNFINISHED, file.lines):
        yield number, f"{what}: do it, or put it into the document's list of limits"


def check_markdown_title(file):
    if not file.is_markdown():
        return
    titles = []
    fence = None
    for number, line in enumerate(file.lines, 1):
        mark = re.match(r" {0,3}(`{3,}|~{3,})(.*)", line)
        if fence is None and mark:
            fence = mark.group(1)
        elif fence is not None:
            if mark and mark.group(1).startswith(fence) and not mark.group(2).strip():
                fence = None
        elif line.startswith("# "):
            titles.append(number)
    if fence is not None:
        yield len(file.lines), f"a code block ({fence}) that is never closed"
    # bench/*/NOTES.md becomes part of bench/REPORT.md.
    titles_wanted = 0 if file.path.endswith("/NOTES.md") else 1
    if len(titles) != titles_wanted:
        yield titles[-1] if titles else 1, f"{len(titles)} titles (\"# …\"), not {titles_wanted}"


SET_OPTIONS = "set -euo pipefail"
SOURCE_LIB = re.compile(r'\. "\$\(dirname "\$0"\)/(?:\.\./)*(?:scripts/)?lib\.sh"$')


def check_shell(file):
    """A script is run: executable, a bash shebang, and first of all `set -euo pipefail`, or lib.sh,
    which does that. A fragment is sourced: none of these, and a line that tells shellcheck."""
    if not file.is_shell():
        return
    shebang = file.lines[0].startswith("#!")
    first = next(((number, line) for number, line in enumerate(file.lines, 1)
                  if line.strip() and not line.startswith("#")), (1, ""))
    if not shebang and not file.executable:
        head = file.lines[:first[0]]
        if "# shellcheck shell=bash" not in head:
            yield 1, "neither a script (executable, bash shebang) nor marked as a sourced fragment"
        if file.name == "lib.sh" and first[1] != SET_OPTIONS:
            yield first[0], f"scripts rely on lib.sh to begin with {SET_OPTIONS}"
        return
    if file.lines[0] not in ("#!/usr/bin/env bash", "#!/bin/bash"):
        yield 1, "a script begins with #!/usr/bin/env bash"
    if not file.executable:
        yield 1, "a script is executable (chmod +x)"
    if first[1] != SET_OPTIONS and not SOURCE_LIB.match(first[1]):
        yield first[0], f"the first command of a script is {SET_OPTIONS}, or sourcing lib.sh"


FILE_CHECKS = (check_columns, check_tabs, check_pragma_once, check_core_is_pure, check_sleep,
               check_grpc_is_made_by_common_rpc, check_generated_headers_stay_out_of_headers,
               check_unfinished, check_markdown_title, check_shell)

# ---- Checks of the whole tree: yield (path, message).


def check_tests_are_built(files):
    listed = set()
    for file in files:
        if file.name == "CMakeLists.txt":
            folder = file.path[:-len(file.name)]
            for line in file.lines:
                for word in re.split(r'[\s()"]+', line.split("#", 1)[0]):
                    listed.add(os.path.normpath(folder + word))
    for file in files:
        if re.match(r"tests/.*_test\.cc$", file.path) and file.path not in listed:
            yield file.path, "in no CMakeLists.txt: a test that is not built is no test"


# ---- The self-test.

SNIPPETS = (
    # check, path, text, executable, number of findings
    (check_columns, "a.cc", "x" * 101, False, 1),
    (check_columns, "a.h", "ok\n" + "é" * 101 + "\nok\n" + "y" * 200, False, 2),
    (check_columns, "a.cc", "x" * 100 + "\n" + "é" * 100, False, 0),
    (check_columns, "a.md", "x" * 101, False, 0),
    (check_tabs, "a.cc", "int\ta;\n\tint b;\n", False, 2),
    (check_tabs, "a.cc", "  const char* tab = \"\\t\";\n", False, 0),
    (check_pragma_once, "a.h", "// comment\n#pragma once\n", False, 1),
    (check_pragma_once, "a.h", "#ifndef A_H\n", False, 1),
    (check_pragma_once, "a.h", "", False, 1),
    (check_pragma_once, "a.h", "#pragma once\n", False, 0),
    (check_pragma_once, "a.cc", "int a;\n", False, 0),
    (check_core_is_pure, "x/core/a.cc", "auto t = std::chrono::steady_clock::now();", False, 1),
    (check_core_is_pure, "x/core/a.cc", "auto t = Clock::now ();", False, 1),
    (check_core_is_pure, "x/core/a.cc", "std::random_device seed;", False, 1),
    (check_core_is_pure, "x/core/a.h", "std::mutex a;\nstd::thread b;\nstd::jthread c;", False, 3),
    (check_core_is_pure, "x/core/a.h", "std::atomic<int> a;\nstd::atomic_flag b;", False, 2),
    (check_core_is_pure, "x/core/a.h", "std::shared_mutex a;\nstd::condition_variable_any b;",
     False, 2),
    (check_core_is_pure, "x/core/deep/a.cc", "#include <spdlog/spdlog.h>", False, 1),
    (check_core_is_pure, "x/core/a.cc", "#include <grpcpp/grpcpp.h>\ngrpc::Status s;", False, 2),
    (check_core_is_pure, "x/core/a.cc", "#include <sys/socket.h>", False, 1),
    (check_core_is_pure, "x/core/a.cc", "const char* e = std::getenv(\"X\");", False, 1),
    (check_core_is_pure, "x/core/a.cc", "f(\"//\"); std::thread t;", False, 1),
    (check_core_is_pure, "x/core/a.cc", "int n = 10'000; std::thread t; int m = 1'0;", False, 1),
    (check_core_is_pure, "x/core/a.cc", "auto s = R\"(/*)\"; std::thread t; // */", False, 1),
    (check_core_is_pure, "x/core/a.cc", "/* no */ std::thread t; /* std::mutex m; */", False, 1),
    (check_core_is_pure, "x/core/a.cc", "// never calls steady_clock::now()\n"
     "/* no std::mutex,\n   no std::thread */\nstd::optional<int> known(TimePoint now);\n",
     False, 0),
    (check_core_is_pure, "x/server/a.cc", "std::mutex a;", False, 0),
    (check_sleep, "tests/x/a_test.cc", "std::this_thread::sleep_for(1s);", False, 1),
    (check_sleep, "tests/x/a_test.cc", "std::this_thread::sleep_until(t);", False, 1),
    (check_sleep, "tests/x/a_test.cc", "usleep(10);\n::sleep (1);\nnanosleep(&t, nullptr);", False,
     3),
    (check_sleep, "tests/x/a.h", "inline void f() { sleep(1); }", False, 1),
    (check_sleep, "tests/x/a_test.py", "import time\ntime.sleep(1)\n", False, 1),
    (check_sleep, "tests/x/a.sh", "sleep 1\nfoo; sleep 0.1\nwhile true; do sleep 1; done\n", True,
     3),
    (check_sleep, "tests/x/a_test.cc", "// no sleep() here\nint asleep(int);\nRun(asleep(1));",
     False, 0),
    (check_sleep, "tests/x/a.sh", "# sleep 1\nwait \"$sleep\"\n", True, 0),
    (check_sleep, "tests/harness/eventually.cc", "std::this_thread::sleep_for(1s);", False, 0),
    (check_sleep, "x/server/a.cc", "usleep(10);", False, 0),
    (check_grpc_is_made_by_common_rpc, "x/server/a.cc",
     "grpc::ServerBuilder b;\nauto c = grpc::CreateChannel(a, b);\ngrpc::ClientContext d;\n"
     "grpc::CreateCustomChannel(a, b, c);\nnew grpc::ClientContext;", False, 5),
    (check_grpc_is_made_by_common_rpc, "tests/x/a.cc",
     "auto c = std::make_unique<grpc::ClientContext>();", False, 1),
    (check_grpc_is_made_by_common_rpc, "x/a.cc",
     "Status F(grpc::ClientContext* context, const grpc::ClientContext& other);", False, 0),
    (check_grpc_is_made_by_common_rpc, "common/rpc/a.cc", "grpc::ServerBuilder b;", False, 0),
    (check_generated_headers_stay_out_of_headers, "x/a.h",
     "#include \"proto/x/v1/a.grpc.pb.h\"\n#include \"proto/x/v1/a.pb.h\"", False, 2),
    (check_generated_headers_stay_out_of_headers, "x/a.cc", "#include \"proto/x/v1/a.pb.h\"",
     False, 0),
    (check_unfinished, "a.cc", "// TODO: later\n// FIXME(me)\nint XXX;\n", False, 3),
    (check_unfinished, "a.md", "TODO\n", False, 1),
    (check_unfinished, "a.sh", "mktemp -d /tmp/a.XXXXXX\nTODOS=1\n", False, 0),
    (check_markdown_title, "a.md", "no title\n", False, 1),
    (check_markdown_title, "a.md", "# One\ntext\n# Two\n", False, 1),
    (check_markdown_title, "a.md", "```sh\n# a comment\n```\n", False, 1),
    (check_markdown_title, "a.md", "# One\n```sh\nnever closed\n", False, 1),
    (check_markdown_title, "a.md", "# One\n```sh\n# a comment\n```\n## Part\n#hashtag\n", False, 0),
    (check_markdown_title, "a.md", "# One\n~~~\n```\n# text\n~~~\n", False, 0),
    (check_shell, "a.sh", "#!/usr/bin/env bash\nset -euo pipefail\n", False, 1),
    (check_shell, "a.sh", "#!/bin/sh\nset -euo pipefail\n", True, 1),
    (check_shell, "a.sh", "set -euo pipefail\n", True, 1),
    (check_shell, "a.sh", "set -euo pipefail\n", False, 1),
    (check_shell, "a.sh", "#!/usr/bin/env bash\n# set -euo pipefail\necho\n", True, 1),
    (check_shell, "a.sh", "#!/usr/bin/env bash\necho\nset -euo pipefail\n", True, 1),
    (check_shell, "a.sh", "#!/usr/bin/env bash\n. elsewhere.sh\n", True, 1),
    (check_shell, "a.sh", "#!/usr/bin/env bash\n", True, 1),
    (check_shell, "run", "#!/bin/bash\necho\n", True, 1),
    (check_shell, "lib.sh", "# shellcheck shell=bash\necho\n", False, 1),
    (check_shell, "a.sh", "#!/usr/bin/env bash\n# What it does.\n\nset -euo pipefail\n", True, 0),
    (check_shell, "a.sh", "#!/usr/bin/env bash\n. \"$(dirname \"$0\")/../lib.sh\"\n", True, 0),
    (check_shell, ".ci/run", "#!/usr/bin/env bash\n. \"$(dirname \"$0\")/../scripts/lib.sh\"\n",
     True, 0),
    (check_shell, "lib.sh", "# What.\n# shellcheck shell=bash\nset -euo pipefail\n", False, 0),
    (check_shell, "fragment.sh", "# What.\n# shellcheck shell=bash\ndaemon x\n", False, 0),
    (check_shell, "a.py", "#!/usr/bin/env python3\n", False, 0),
)

TREES = (
    # files, paths found
    ([("tests/a/b_test.cc", "")], ["tests/a/b_test.cc"]),
    ([("tests/a/b_test.cc", ""), ("tests/a/CMakeLists.txt", "# b_test.cc\nadd(c_test.cc)")],
     ["tests/a/b_test.cc"]),
    ([("tests/a/b_test.cc", ""), ("tests/c/CMakeLists.txt", "add(b_test.cc)")],
     ["tests/a/b_test.cc"]),
    ([("tests/a/b_test.cc", ""), ("tests/a/CMakeLists.txt", "add(x SOURCES b_test.cc)")], []),
    ([("tests/a/b_test.cc", ""), ("tests/CMakeLists.txt", "add(x SOURCES\n  a/b_test.cc\n)")], []),
    ([("tests/a/b.cc", ""), ("other/b_test.cc", "")], []),
)


def self_test():
    """What is wrong with the checks themselves."""
    problems = []
    for check, path, text, executable, expected in SNIPPETS:
        found = list(check(File(path, text, executable)))
        if len(found) != expected:
            problems.append(f"{check.__name__}: {len(found)} findings, expected {expected}, in "
                            f"{path}: {text!r}: {found}")
    for contents, expected in TREES:
        found = [path for path, _ in
                 check_tests_are_built([File(path, text) for path, text in contents])]
        if found != expected:
            problems.append(f"check_tests_are_built: {found}, expected {expected}, in {contents}")
    for check in FILE_CHECKS:
        shown = [expected for other, _, _, _, expected in SNIPPETS if other is check]
        if not any(shown) or all(shown):
            problems.append(f"{check.__name__}: needs a bad and a good snippet")
    return problems


# ---- The tree.


def paths_of_git(root):
    """What git knows or would add; None where the folder is not a git working tree."""
    def git(*arguments):
        return subprocess.run(("git", "-C", root) + arguments, check=True, encoding="utf-8",
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    try:
        if os.path.realpath(git("rev-parse", "--show-toplevel").strip()) != os.path.realpath(root):
            return None  # somebody else's, around an unpacked archive
        return git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")[:-1]
    except (OSError, subprocess.CalledProcessError):
        return None


def paths_of_walk(root):
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders
                         if name not in (".git", ".cache", "__pycache__")
                         and os.path.join(folder, name) != os.path.join(root, "build")]
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), root)


def read_tree(root):
    """(files that are text, problems)"""
    files, problems = [], []
    paths = paths_of_git(root)
    if paths is None:
        paths = paths_of_walk(root)
    for path in sorted(set(paths)):
        full = os.path.join(root, path)
        if os.path.islink(full) or not os.path.isfile(full):
            continue  # deleted and not committed yet, or a submodule
        with open(full, "rb") as content:
            data = content.read()
        executable = bool(os.stat(full).st_mode & stat.S_IXUSR)
        try:
            file = File(path, data.decode("utf-8"), executable)
        except UnicodeDecodeError as error:
            if path.endswith((".h", ".cc", ".md", ".sh", ".py", ".cmake", "CMakeLists.txt")):
                problems.append(f"{path}: not UTF-8: {error}")
            continue
        if (file.is_cpp() or file.is_markdown() or file.is_cmake() or file.is_shell()
                or file.is_python() or file.suffix == ".proto"):
            files.append(file)
    return files, problems


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(here, "..", "..")
    problems = [f"self-test: {problem}" for problem in self_test()]
    if not problems:
        files, problems = read_tree(os.path.normpath(root))
        if not any(file.is_cpp() for file in files):
            problems.append(f"{root}: no C++ file: not the source tree?")
        for file in files:
            if file.path == THIS_FILE:
                continue
            for check in FILE_CHECKS:
                problems += [f"{file.path}:{number}: {message}" for number, message in check(file)]
        problems += [f"{path}: {message}" for path, message in check_tests_are_built(files)]
    for problem in problems:
        print(problem)
    if problems:
        sys.exit(f"tree_test: {len(problems)} findings")
    print(f"tree_test: {len(files)} files checked, nothing found")


if __name__ == "__main__":
    main()
