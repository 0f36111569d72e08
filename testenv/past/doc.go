// Package past brings simulated devices the weeks before they were looked at: it
// lets a fake machine live through them with the agent's own code (minutes,
// blocks, the rules of the findings, the list of programs) into a real spool,
// which the device's agent then tells. Nothing is told that the agent would not
// tell of such a machine.
//
// What is invented: when the machine was used, and that the agent heard the
// collector's time at each boot. It is as if the collector had lost its store and
// is told anew what the devices still have (proto/PROTOCOL.md).
package past
