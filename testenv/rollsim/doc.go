// Package rollsim takes releases over a simulated fleet: 5,000 devices, each with the
// real machine of updates (agent/update/journal), the real launcher and the real
// preparing part of the agent (agent/update), against the real collector/rollout,
// collector/health and collector/pace on a database file. Its tests are all there is.
//
// Nothing draws an outcome. What is set is on which devices a build is bad, and in
// which way: it crashes, hangs, does not find the collector, eats a core, or fails its
// own test. What becomes of that is what launcher and journal make of it, and what the
// collector knows is what the devices told, as entries of their spools.
//
// Left out, because each is shown elsewhere and costs time five thousand times:
// sessions (the collector's functions are called as collector/gateway calls them, and
// cut as it does), disks (testenv/scenario and agent/launcher cut those), the contents
// of patches (agent/update/fetch; here they are as long as real ones), and verifying
// the same metadata again: every two hundredth device does that itself, the others take the
// answer that one with the same files got, and count its requests and bytes. A device
// at rest is on and connected, but its launcher and agent are not stepped.
//
// Time is that of a synctest bubble: each rollout has one, and days take seconds.
//
// A seed's run can be had again: devices, owners and releases have the same ids each
// time, and what is drawn is drawn from the seed. Only what happens in the same moment
// comes in any order, which may move a count by one.
package rollsim
