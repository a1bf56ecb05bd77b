# shellcheck shell=sh
# The share's own disk on the file machine. A disk that holds anything is never formatted.

folder=/var/nfs/shared_folder

# Print the UUID of the file system on the device $1. One is made only where nothing at all is: no
# file system, no partition, no volume, and nothing but zeros in the first 16 MiB, as on a new disk.
file_system_of() {
	if [ -z "$(blkid --probe --output value --match-tag TYPE "$1")" ]; then
		if [ -n "$(wipefs --noheadings "$1")" ] || ! cmp --silent --bytes=16777216 "$1" /dev/zero; then
			fail disk_not_empty "$1 has no file system, but something else is on it: empty it by hand (blkdiscard --zeroout $1), or give another disk"
		fi
		say "making a file system on $1" >&2
		mkfs.ext4 -q -m 1 -L idrl-share "$1"
	fi
	blkid --probe --output value --match-tag UUID "$1"
}

# mount_disk DEVICE: mount it at the shared folder, now and before the NFS server after every boot.
mount_disk() {
	[ -b "$1" ] || fail disk_missing "idrl-data-disk is $1, which is not a block device here"
	uuid=$(file_system_of "$1")
	# What was shared from the root disk would be hidden by the mount.
	if ! mountpoint --quiet "$folder" && [ -d "$folder" ] && [ -n "$(find "$folder" -mindepth 1 ! -name .idrl-share | head -n 1)" ]; then
		fail share_not_empty "$folder on the root disk holds files: move them to the data disk first"
	fi
	mkdir -p "$folder"
	write_unit_file var-nfs-shared_folder.mount <<END
[Unit]
Description=The disk of the share

[Mount]
What=/dev/disk/by-uuid/$uuid
Where=$folder
Type=ext4
Options=noatime,noexec,nosuid,nodev

[Install]
WantedBy=multi-user.target
END
	# Without its disk the server must not offer an empty folder in its place.
	write_unit_file nfs-server.service.d/idrl-disk.conf <<END
[Unit]
RequiresMountsFor=$folder
END
	systemctl --quiet enable var-nfs-shared_folder.mount
	if ! mountpoint --quiet "$folder"; then
		systemctl start var-nfs-shared_folder.mount || fail disk_not_mounted "see: systemctl status var-nfs-shared_folder.mount"
		# A server that runs already still holds the folder below; on a new machine there is none.
		! systemctl cat nfs-server.service >/dev/null 2>&1 ||
			systemctl try-restart nfs-server.service
	fi
	# A disk that was made larger: the file system follows while it is in use; else this does
	# nothing.
	resize2fs "$1" >/dev/null 2>&1 || fail disk_not_grown "the file system of $1 could not be fitted to it: run resize2fs $1"
}
