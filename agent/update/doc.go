// Package update is the agent's side of updates. Here is its end of the pipes to
// the launcher: it tells that it gets on, what it finds when it checks itself, and
// whether the collector knows which program it is; it is told whether it is on
// trial. The end of the launcher is the end of the agent, which would otherwise run
// twice when the service comes back.
//
// An agent that was started by hand has no launcher and takes no updates; all that
// it would tell is then told to nobody.
package update
