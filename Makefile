# The usual commands. The build itself is CMake's: see CMakePresets.json.
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
veer = build/release/veer

.PHONY: all deps demo test asan bench quality install clean check-bookworm check-trixie

all: build/release/build.ninja
	cmake --build --preset release -j $(JOBS)

build/%/build.ninja:
	cmake --preset $* $(CMAKE_FLAGS)

deps:
	@scripts/deps.sh

demo: deps
	@$(MAKE) --no-print-directory all
	@scripts/demo.sh $(veer) demo

test: deps
	@$(MAKE) --no-print-directory all
	ctest --preset release

asan: deps
	@$(MAKE) --no-print-directory build/asan/build.ninja
	cmake --build --preset asan -j $(JOBS)
	ctest --preset asan

bench: all
	build/release/veer-bench-peak
	$(veer) bench

quality: all
	build/release/veer-bench-quality examples/digits

# A fresh clone of what is committed, in a fresh chroot of that Debian release.
check-bookworm check-trixie: check-%:
	scripts/check-suite.sh $*

install: all
	cmake --install build/release --prefix $(PREFIX)

clean:
	rm -rf build/release build/dev build/asan demo
