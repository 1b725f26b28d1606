# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=sh
# Shared by the scripts here (sourced, POSIX sh): messages, and apt with lists of its own.
#
# The user's apt configuration is read (mirror, proxy) and never changed: sources, lists and caches
# live under target/apt.

umask 022
root=$(cd "$(dirname "$0")/.." && pwd)
debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf '%s\n' "$*"; }
complain() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
# die CODE TEXT...: 1 input refused, 3 a tool or the machine failed.
die() {
	die_code=$1
	shift
	complain "$@"
	exit "$die_code"
}
have() { command -v "$1" >/dev/null 2>&1; }

# The Debian mirror that this machine uses, or ANCHORITE_DEBIAN_MIRROR.
debian_mirror() {
	if [ -n "${ANCHORITE_DEBIAN_MIRROR:-}" ]; then
		say "${ANCHORITE_DEBIAN_MIRROR%/}"
		return
	fi
	have apt-get || return 1
	# Without downloaded lists the origin is unknown; then the release's name has to do.
	codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release | tr -d '"')
	apt-get indextargets --no-release-info 'Created-By: Packages' \
		--format '$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)|$(LABEL)' 2>/dev/null |
		awk -F'|' -v codename="$codename" '
			$3 != "main" || $2 ~ /security/ { next }
			$4 == "Debian" && $5 == "Debian" { known = known ? known : $1 }
			$4 == "$(ORIGIN)" && ($2 == codename || $2 ~ /^(old)?stable$/) { guess = guess ? guess : $1 }
			END {
				uri = known ? known : guess
				sub(/\/$/, "", uri)
				if (!uri) exit 1
				print uri
			}'
}

# The security archive beside a mirror: same host, or the user's own entry.
security_mirror() {
	if [ -z "${ANCHORITE_DEBIAN_MIRROR:-}" ] && have apt-get; then
		uri=$(apt-get indextargets --no-release-info 'Created-By: Packages' \
			--format '$(REPO_URI)|$(RELEASE)|$(COMPONENT)' 2>/dev/null |
			awk -F'|' '$3 == "main" && $2 ~ /-security$/ { sub(/\/$/, "", $1); print $1; exit }')
		[ -z "$uri" ] || { say "$uri"; return; }
	fi
	say "$(debian_mirror)-security"
}

# write_sources FILE ARCH SUITE...: a private source list, verified with Debian's own keyring.
write_sources() {
	sources_file=$1
	sources_arch=$2
	shift 2
	mirror=$(debian_mirror) || die 3 "no Debian mirror is configured on this machine (apt-get indextargets names none);" \
		"set ANCHORITE_DEBIAN_MIRROR to the URI of one"
	[ -r "$debian_keyring" ] || die 3 "$debian_keyring is missing; install the package debian-archive-keyring"
	for suite in "$@"; do
		case $suite in
		*-security) uri=$(security_mirror) ;;
		*) uri=$mirror ;;
		esac
		say "deb [arch=$sources_arch signed-by=$debian_keyring target=Packages] $uri $suite main"
	done >"$sources_file"
}

# private_apt DIR COMMAND ARG...: an apt tool on DIR/sources.list, with lists and caches in DIR.
private_apt() {
	apt_dir=$1
	apt_command=$2
	shift 2
	mkdir -p "$apt_dir/lists/partial" "$apt_dir/cache/archives/partial"
	"$apt_command" -q -o Dir::Etc::sourcelist="$apt_dir/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::State::Lists="$apt_dir/lists" -o Dir::Cache="$apt_dir/cache" \
		-o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User=root "$@"
}
