// SPDX-License-Identifier: GPL-2.0
//
// Drives a VM by somebody else's QMP client: go-qemu, of DigitalOcean's, whose
// types are made from QEMU's own description of the protocol. It prints what
// that client has understood, a line for each question. It resets the VM, and
// ends it after a line on standard input.
//
//	qmp-client SOCKET
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/digitalocean/go-qemu/qemu"
	"github.com/digitalocean/go-qemu/qmp"
	"github.com/digitalocean/go-qemu/qmp/raw"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func next(events chan qmp.Event) {
	select {
	case event := <-events:
		fmt.Println("event", event.Event, event.Data["reason"])
	case <-time.After(20 * time.Second):
		fmt.Println("no event")
	}
}

func main() {
	socket, err := qmp.NewSocketMonitor("unix", os.Args[1], 20*time.Second)
	check(err)
	check(socket.Connect())
	vm, err := qemu.NewDomain(socket, "vm")
	check(err)
	monitor := raw.NewMonitor(socket)
	events, done, err := vm.Events()
	check(err)

	version, err := vm.PackageVersion()
	check(err)
	fmt.Println("version", version)
	can, err := vm.Supported("block_resize")
	check(err)
	fmt.Println("supported", can)
	name, err := monitor.QueryName()
	check(err)
	fmt.Println("name", *name.Name)
	kvm, err := monitor.QueryKVM()
	check(err)
	fmt.Println("kvm", kvm.Enabled, kvm.Present)

	disks, err := vm.BlockDevices()
	check(err)
	for _, disk := range disks {
		fmt.Println("disk", disk.Device, disk.Inserted.Driver,
			disk.Inserted.Image.VirtualSize)
	}
	check(monitor.BlockResize(&disks[0].Device, nil, 2<<20))
	stats, err := vm.BlockStats()
	check(err)
	for _, disk := range stats {
		fmt.Println("stats", disk.Device, disk.ReadBytes)
	}
	_, err = monitor.QueryBalloon()
	fmt.Println("balloon", err)

	check(monitor.Stop())
	next(events)
	status, err := monitor.QueryStatus()
	check(err)
	fmt.Println("status", status.Status, status.Running)
	check(monitor.Cont())
	next(events)
	check(vm.SystemReset())
	next(events)
	status, err = monitor.QueryStatus()
	check(err)
	fmt.Println("status", status.Status, status.Running)
	fmt.Scanln()
	check(vm.SystemPowerdown())
	next(events)
	next(events)
	close(done)
}
