#!/usr/bin/env bash
# Installs SwiftShader, a Vulkan driver in software, for the current user: with it, exported files can be tried on
# LiteRT's GPU accelerator on a machine without a GPU. It unpacks three files of Debian's chromium-common package
# (27 MB to download, 6 MB kept); nothing is installed system-wide.
#
#   launch/swiftshader.sh
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh

target="$HOME/.cache/rtseg_jax/swiftshader"
files=(libvk_swiftshader.so vk_swiftshader_icd.json libvulkan.so.1)

present() {
  local file
  for file in "${files[@]}"; do [[ -f "$target/$file" ]] || return 1; done
}

if present; then
  echo "SwiftShader is there: $target"
  exit
fi
for tool in apt-get dpkg-deb; do
  command -v "$tool" > /dev/null ||
    fail "$tool is missing: SwiftShader is unpacked from a Debian package; elsewhere copy ${files[*]} from a Chromium to $target"
done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# A fresh machine has no package lists yet; renewing them takes root.
(cd "$scratch" && { apt-get download chromium-common || { apt-get update && apt-get download chromium-common; }; } \
  > apt.log 2>&1) ||
  fail "apt-get download chromium-common: $(tail -1 "$scratch/apt.log"); run apt-get update as root first"
dpkg-deb --extract "$scratch"/chromium-common_*.deb "$scratch/unpacked"
mkdir -p "$target.new"
for file in "${files[@]}"; do
  cp "$scratch/unpacked/usr/lib/chromium/$file" "$target.new/" ||
    fail "this chromium-common has no $file; use that of Debian 12 or later"
done
rm -rf "$target"
mv "$target.new" "$target"
echo "SwiftShader installed: $target"
