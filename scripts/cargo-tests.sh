# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=sh
# Sourced after lib.sh by what runs tests: several cargo runs, one summary.
. "$root/target/toolchain.sh"
cd "$root" || exit 3
[ -z "$HOST_RUSTC" ] || export RUSTC="$HOST_RUSTC"

passed=0
failed=0
: >"$root/target/test-reasons"
# tests NAME ARG...: one cargo run; adds up cargo's own "test result:" lines.
tests() {
	name=$1
	shift
	log=$root/target/test-$name.log
	say "== $name tests =="
	# The pipe's status is tee's; cargo's comes by a file.
	{
		"$HOST_CARGO" test --no-fail-fast --target-dir target "$@" </dev/null 2>&1
		echo $? >"$log.status"
	} | tee "$log"
	status=$(cat "$log.status")
	set -- $(awk '/^test result: / {
			for (i = 2; i < NF; i++) {
				if ($(i + 1) == "passed;") p += $i
				if ($(i + 1) == "failed;") f += $i
			}
		} END { print p + 0, f + 0 }' "$log")
	reasons "$log" >>"$root/target/test-reasons"
	passed=$((passed + $1))
	failed=$((failed + $2))
	if [ "$status" -ne 0 ] && [ "$2" -eq 0 ]; then
		complain "the $name tests ended with status $status and no failed test: counted as one failure"
		failed=$((failed + 1))
	fi
}

# reasons LOG: of each failed test, its name and the first lines of what it says.
reasons() {
	awk '/^---- .* ----$/ { name = $2; left = 4; next }
		name && left && NF { printf "FAILED %s: %s\n", name, substr($0, 1, 300); left-- }' "$1"
}

# summary FILE: why tests failed, then one line, "N passed, N failed", over all runs, also in FILE;
# fails if one failed.
summary() {
	[ "$failed" -eq 0 ] || cat "$root"/target/test-reasons
	printf '%s\n' "$passed passed, $failed failed" | tee "$1"
	[ "$failed" -eq 0 ]
}
