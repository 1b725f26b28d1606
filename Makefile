# SPDX-License-Identifier: Apache-2.0 OR MIT
# Every verb sets up what it needs; the work is done by scripts/ and by target/bin/anchorite.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.SUFFIXES:
MAKEFLAGS += --no-print-directory

BOARD ?= qemu-powernv9
OUT ?= target/images/$(BOARD)/anchorite.elf
anchorite := target/bin/anchorite
config = board-configs/$(BOARD).toml

# The recipes of the board's default guest. All of them: make guests.
guests_of = $(shell sed -n 's/^\(kernel\|initrd\) = "\([^"/]*\)".*/\2/p' $(1))
default_guests = $(call guests_of,$(config))

# A report. That walls are not proved has been said by build, and ends nothing here.
inspect = $(anchorite) inspect $(1) || [ $$? -eq 1 ]

# A value as one shell word.
quote = '$(subst ','\'',$(1))'
option = $(if $($(2)),$(1) $(call quote,$($(2))))

.PHONY: help
help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 22
	@echo
	@echo 'Boards (BOARD=):' $(patsubst board-configs/%.toml,%,$(wildcard board-configs/*.toml))
	@echo 'Also: GUEST=vmlinux INITRD=file CMDLINE="..." VCPUS=n OUT=file for image and run; DRIVE=file for run'

.PHONY: run
run: image ## build the image and boot it in QEMU, the guest's console on this terminal
	@$(anchorite) run --board $(call quote,$(config)) --image $(call quote,$(OUT)) $(call option,--drive,DRIVE)

.PHONY: image
image: board setup tools firmware default-guests ## build the firmware image and its report
	@mkdir -p $(call quote,$(dir $(OUT)))
	@$(anchorite) build --board $(call quote,$(config)) --out $(call quote,$(OUT)) \
		$(call option,--guest,GUEST) $(call option,--initrd,INITRD) \
		$(call option,--cmdline,CMDLINE) $(call option,--vcpus,VCPUS)
	@$(call inspect,$(call quote,$(OUT)) >$(call quote,$(OUT).report.txt))
	@$(call inspect,--json $(call quote,$(OUT)) >$(call quote,$(OUT).report.json))
	@echo 'image: $(OUT)'
	@echo 'report: $(OUT).report.txt (and .json)'

.PHONY: test
test: setup tools firmware guests ## every test: host tests, rejected configs, QEMU boots
	@scripts/test

.PHONY: soak
soak: setup tools firmware ## long runs: every kernel on every processor, long races (FILTER=... for some)
	@scripts/guests --all
	@scripts/soak $(FILTER)

.PHONY: fuzz
fuzz: setup ## changed inputs against everything that reads one (SECONDS=60 each, FILTER=... for some)
	@scripts/fuzz $(or $(SECONDS),60) $(FILTER)

.PHONY: sanitize
sanitize: setup ## the firmware's crates tested under AddressSanitizer, where a compiler has it
	@scripts/sanitize address

.PHONY: miri
miri: setup ## guest memory, plain data and argument buffers tested under Miri, where it is installed
	@scripts/sanitize miri

.PHONY: bench
bench: setup tools firmware ## what exits cost, in instructions: a table, and target/bench.json
	@scripts/bench

.PHONY: mutants
mutants: setup tools guests ## each mechanism taken out of a copy, and the test that notices (FILTER="POWER9 4" for some)
	@scripts/mutants $(call quote,$(FILTER))

.PHONY: check
check: default_guests = $(call guests_of,$(wildcard board-configs/*.toml))
check: setup tools firmware default-guests ## lints, house rules, licences, firmware size
	@scripts/check

.PHONY: flash-help
flash-help: board ## the commands that put the image on the board, and take it off again
	@scripts/flash-help $(call quote,$(BOARD)) $(call quote,$(OUT))

.PHONY: tools
tools: setup firmware ## build the host program, target/bin/anchorite, and the firmware it needs
	@scripts/build-tools

.PHONY: firmware
firmware: setup ## build the firmware that goes into images
	@scripts/build-firmware

.PHONY: guests
guests: setup tools ## fetch the guests that images/guests/lock.toml pins
	@scripts/guests

.PHONY: guests-update
guests-update: setup tools ## point images/guests/lock.toml at the mirror's newest versions
	@scripts/guests --update

.PHONY: setup
setup: ## install what is missing (every other verb does that too)
	@scripts/setup

.PHONY: clean
clean: ## remove everything that was built or fetched
	rm -rf target

.PHONY: default-guests
default-guests: setup tools
	@scripts/guests $(default_guests)

.PHONY: board
board:
	@test -f $(call quote,$(config)) || { \
		echo 'no board $(BOARD); there are:' $(patsubst board-configs/%.toml,%,$(wildcard board-configs/*.toml)) >&2; \
		exit 1; }
