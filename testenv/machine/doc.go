// Package machine starts a real Debian with systemd in a container, as a test's
// own device: packages are installed by dpkg, the service is run by systemd, the
// machine can be rebooted, lose its power and its network cable.
//
// It needs root, systemd-nspawn and debootstrap (Available says what is
// missing). The base system is made once by debootstrap and kept below
// /var/cache/hausmeister by the hash of its recipe; each machine writes into an
// overlay of its own in memory, and has a small ext4 volume at /home where loop
// devices are to be had. Nothing survives the test program, however it ends: the
// mounts live in a namespace that ends with its processes, the processes are
// told to stop when their parent dies, and the network link ends with them.
package machine
