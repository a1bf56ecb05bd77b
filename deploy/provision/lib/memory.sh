# shellcheck shell=sh
# Memory of small machines. Without swap, a moment of need ends whatever the kernel picks.

# What the limits of a worker machine's containers allow together, and the system: with less, the
# kernel would end something before a container has reached its limit. Swap makes room for that.
swap_below_kib=$((5 * 1024 * 1024))
swap_mib=2048

# Give a machine with little memory and no swap a file to swap to, now and after every boot.
ensure_swap() {
	meminfo=${IDRL_MEMINFO:-/proc/meminfo}
	memory_kib=$(awk '/^MemTotal/ { print $2 }' "$meminfo")
	[ "$memory_kib" -lt "$swap_below_kib" ] || return 0
	! grep -q '^SwapTotal: *[1-9]' "$meminfo" || return 0
	swap_file=$IDRL_OPT/swap
	if [ ! -e "$swap_file" ]; then
		say "making $swap_mib MiB of swap: this machine has $((memory_kib / 1024)) MiB of memory"
		(umask 077 && fallocate -l "${swap_mib}M" "$swap_file.new")
		# Its option --quiet came with util-linux 2.38: Ubuntu 22.04 has none.
		mkswap "$swap_file.new" >/dev/null
		mv "$swap_file.new" "$swap_file"
	fi
	# systemd wants a swap unit to be named after the path.
	write_unit_file "$(systemd-escape --path --suffix=swap "$swap_file")" <<END
[Unit]
Description=Swap, for a machine with little memory

[Swap]
What=$swap_file

[Install]
WantedBy=swap.target
END
	systemctl --quiet enable --now "$(systemd-escape --path --suffix=swap "$swap_file")"
}
