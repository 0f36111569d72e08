package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"hausmeister/collector"
	"hausmeister/collector/access"
	"hausmeister/collector/admin"
	"hausmeister/collector/fleet"
)

// do asks the running collector.
func (c *cli) do(verb string, in, out any) error {
	cfg, err := c.load(settings{})
	if err != nil {
		return err
	}
	return admin.NewClient(cfg.SocketPath()).Do(context.Background(), verb, in, out)
}

// writeJSON writes one line, with the & of a claim as it is: it gets copied.
func writeJSON(w io.Writer, answer any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(answer)
}

// show prints answer as JSON on one line, or the text.
func (c *cli) show(answer any, format string, args ...any) error {
	if c.JSON {
		return writeJSON(c.stdout, answer)
	}
	_, err := fmt.Fprintf(c.stdout, format, args...)
	return err
}

// table prints answer as JSON, or rows under a head.
func (c *cli) table(answer any, head string, rows func(row func(cells ...any))) error {
	if c.JSON {
		return writeJSON(c.stdout, answer)
	}
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(head, "|", "\t"))
	rows(func(cells ...any) {
		for i, cell := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			if cell == "" {
				cell = "-"
			}
			fmt.Fprint(w, cell)
		}
		fmt.Fprintln(w)
	})
	return w.Flush()
}

// life is a duration in days (90d), or one that Go reads.
type life time.Duration

// UnmarshalText reads the flag's value.
func (l *life) UnmarshalText(text []byte) error {
	if days, ok := strings.CutSuffix(string(text), "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 1 || n > 40_000 {
			return fmt.Errorf("%q is no number of days", text)
		}
		*l = life(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil || d <= 0 {
		return fmt.Errorf("want a time like 90d or 12h, not %q", text)
	}
	*l = life(d)
	return nil
}

type claimCmd struct {
	Create struct {
		Owner    string   `help:"Owner of the devices, by name or id." required:""`
		NewOwner bool     `help:"Make the owner if there is none of this name."`
		School   string   `help:"School, by number or id."`
		Cap      int64    `help:"How many devices it may admit." xor:"kind" required:"" placeholder:"N"`
		Serial   []string `help:"Admit exactly this device, once; may be repeated." xor:"kind" required:""`
		Expires  life     `help:"How long it is good." default:"90d" placeholder:"90d"`
		Note     string   `help:"A word for the list of claims."`
	} `cmd:"" help:"Create a claim. It is shown this once."`
	List   struct{} `cmd:"" help:"List claims."`
	Revoke struct {
		ID string `arg:"" help:"The claim's id."`
	} `cmd:"" help:"Revoke a claim. Devices that it admitted stay."`
}

func (v *claimCmd) Run(c *cli, command cmdName) error {
	switch command {
	case "claim create":
		in := v.Create
		var made admin.Claim
		if err := c.do("claim/create", admin.NewClaim{Owner: in.Owner, NewOwner: in.NewOwner, School: in.School, Cap: in.Cap, Serials: in.Serial,
			Life: time.Duration(in.Expires), Note: in.Note}, &made); err != nil {
			return err
		}
		return c.show(made, "%s\n\nFor up to %d devices of %s until %s. It is not shown again; on the device:\n  hausmeister-agent enroll '%s'\n",
			made.Text, made.Cap, made.Owner, made.Expires.Format(time.DateOnly), made.Text)
	case "claim revoke <id>":
		if err := c.do("claim/revoke", admin.Named{Name: v.Revoke.ID}, &admin.None{}); err != nil {
			return err
		}
		return c.show(map[string]string{"revoked": v.Revoke.ID}, "Revoked.\n")
	}
	var list []admin.Claim
	if err := c.do("claim/list", admin.None{}, &list); err != nil {
		return err
	}
	return c.table(list, "ID|OWNER|SCHOOL|USED|CAP|EXPIRES|NOTE", func(row func(...any)) {
		for _, cl := range list {
			expires := cl.Expires.Format(time.DateOnly)
			if cl.Revoked != nil {
				expires = "revoked"
			}
			row(cl.ID, cl.Owner, cl.School, cl.Used, cl.Cap, expires, cl.Note)
		}
	})
}

type schoolCmd struct {
	Import struct {
		File string `arg:"" help:"CSV with the columns schul_id;schultraeger;schulform;geraete." type:"existingfile"`
	} `cmd:"" help:"Add and change schools and their owners from a list. The same list again changes nothing."`
	List struct{} `cmd:"" help:"List schools."`
}

func (v *schoolCmd) Run(c *cli, command cmdName) error {
	if command == "school list" {
		var list []admin.School
		if err := c.do("school/list", admin.None{}, &list); err != nil {
			return err
		}
		return c.table(list, "NUMBER|OWNER|NAME|DEVICES|PLANNED", func(row func(...any)) {
			for _, s := range list {
				row(s.Code, s.Owner, s.Name, s.Devices, s.Planned)
			}
		})
	}
	content, err := os.ReadFile(v.Import.File)
	if err != nil {
		return err
	}
	var done admin.Import
	if err := c.do("school/import", admin.File{Content: content}, &done); err != nil {
		return err
	}
	for _, e := range done.Errors {
		fmt.Fprintf(c.stderr, "%s:%d: %s\n", v.Import.File, e.Line, e.Text)
	}
	if done.Encoding != fleet.UTF8 {
		fmt.Fprintf(c.stderr, "%s is not UTF-8; it was read as %s.\n", v.Import.File, done.Encoding)
	}
	if err := c.show(done, "Schools: %d added, %d changed, %d unchanged. Owners: %d added.\n", done.Added, done.Changed, done.Unchanged, done.Owners); err != nil {
		return err
	}
	switch n := len(done.Errors); n {
	case 0:
		return nil
	case 1:
		return errors.New("1 line was left out")
	default:
		return fmt.Errorf("%d lines were left out", n)
	}
}

type userCmd struct {
	Add struct {
		Login         string      `arg:"" help:"Name to sign in with."`
		Role          access.Role `help:"admin, release, support or read." enum:"admin,release,support,read" required:""`
		Owner         []string    `help:"Only data of this owner; may be repeated."`
		PasswordStdin bool        `help:"Read the password from standard input. Without it one is made and shown once."`
	} `cmd:"" help:"Create an account."`
	List   struct{} `cmd:"" help:"List accounts."`
	Passwd struct {
		Login         string `arg:""`
		PasswordStdin bool   `help:"Read the password from standard input. Without it one is made and shown once."`
	} `cmd:"" help:"Set a new password and end all sessions."`
	Disable struct {
		Login string `arg:""`
	} `cmd:"" help:"Disable an account: all sessions end and nobody signs in with it."`
	Enable struct {
		Login string `arg:""`
	} `cmd:"" help:"Enable an account again."`
	Token struct {
		Name    string      `arg:"" help:"A name for the list of tokens."`
		Role    access.Role `help:"admin, release, support or read." enum:"admin,release,support,read" required:""`
		Owner   []string    `help:"Only data of this owner; may be repeated."`
		Expires life        `help:"How long it is good; without it, for ever." placeholder:"365d"`
	} `cmd:"" help:"Create an API token. It is shown this once."`
	Tokens      struct{} `cmd:"" help:"List API tokens."`
	RevokeToken struct {
		Name string `arg:"" help:"Its name or id."`
	} `cmd:"" help:"Revoke an API token."`
}

// password reads one line of standard input, or makes a password.
func (c *cli) password(fromStdin bool) (password string, made bool, err error) {
	if !fromStdin {
		return access.GeneratePassword(), true, nil
	}
	line, err := bufio.NewReader(c.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) { // the last line may lack its end
		return "", false, fmt.Errorf("%w: no password on standard input: %w", collector.ErrConfig, err)
	}
	if password = strings.TrimRight(line, "\r\n"); password == "" {
		return "", false, fmt.Errorf("%w: no password on standard input: its first line is empty", collector.ErrConfig)
	}
	return password, false, nil
}

func (v *userCmd) Run(c *cli, command cmdName) error {
	switch command {
	case "user add <login>", "user passwd <login>":
		return v.setPassword(c, command)
	case "user disable <login>":
		return c.named("user/disable", v.Disable.Login, "Disabled.\n")
	case "user enable <login>":
		return c.named("user/enable", v.Enable.Login, "Enabled.\n")
	case "user revoke-token <name>":
		return c.named("token/revoke", v.RevokeToken.Name, "Revoked.\n")
	case "user token <name>":
		var made admin.Token
		in := admin.Token{Name: v.Token.Name, Role: v.Token.Role, Owners: v.Token.Owner, Life: time.Duration(v.Token.Expires)}
		if err := c.do("token/create", in, &made); err != nil {
			return err
		}
		return c.show(made, "%s\n\nIt is not shown again. Send it as: Authorization: Bearer TOKEN\n", made.Secret)
	case "user tokens":
		return v.tokens(c)
	}
	var list []admin.User
	if err := c.do("user/list", admin.None{}, &list); err != nil {
		return err
	}
	return c.table(list, "LOGIN|ROLE|OWNERS|CREATED|STATE", func(row func(...any)) {
		for _, u := range list {
			state := "active"
			if u.Disabled {
				state = "disabled"
			}
			row(u.Login, u.Role, strings.Join(u.Owners, ", "), u.Created.Format(time.DateOnly), state)
		}
	})
}

func (v *userCmd) setPassword(c *cli, command cmdName) error {
	verb, in, fromStdin := "user/passwd", admin.User{Login: v.Passwd.Login}, v.Passwd.PasswordStdin
	if command == "user add <login>" {
		verb, in, fromStdin = "user/add", admin.User{Login: v.Add.Login, Role: v.Add.Role, Owners: v.Add.Owner}, v.Add.PasswordStdin
	}
	password, made, err := c.password(fromStdin)
	if err != nil {
		return err
	}
	in.Password = password
	if err := c.do(verb, in, &admin.User{}); err != nil {
		return err
	}
	answer := map[string]string{"login": in.Login}
	if !made {
		return c.show(answer, "Done.\n")
	}
	answer["password"] = password
	return c.show(answer, "Password of %s, not shown again: %s\n", in.Login, password)
}

func (v *userCmd) tokens(c *cli) error {
	var list []admin.Token
	if err := c.do("token/list", admin.None{}, &list); err != nil {
		return err
	}
	return c.table(list, "NAME|ROLE|OWNERS|EXPIRES|LAST USED", func(row func(...any)) {
		for _, t := range list {
			expires := "never"
			if !t.Expires.IsZero() {
				expires = t.Expires.Format(time.DateOnly)
			}
			if t.Revoked {
				expires = "revoked"
			}
			row(t.Name, t.Role, strings.Join(t.Owners, ", "), expires, t.UsedDay)
		}
	})
}

// named runs a verb about one thing that answers nothing.
func (c *cli) named(verb, name, text string) error {
	if err := c.do(verb, admin.Named{Name: name}, &admin.None{}); err != nil {
		return err
	}
	return c.show(map[string]string{"name": name}, "%s", text)
}

type deviceCmd struct {
	List struct {
		Query string      `arg:"" optional:"" help:"Words of inventory number, serial, model or school."`
		State fleet.State `help:"connected, ok, silent, new or revoked."`
		Limit int         `help:"At most so many." default:"100"`
	} `cmd:"" help:"List devices."`
	Show struct {
		ID string `arg:"" help:"Id, inventory number or serial."`
	} `cmd:"" help:"Show a device."`
	Set struct {
		ID        string `arg:"" help:"Id, inventory number or serial."`
		Inventory string `help:"Inventory number; empty takes it away." required:""`
	} `cmd:"" help:"Change a device."`
	Revoke struct {
		ID     string `arg:"" help:"Id, inventory number or serial."`
		Reason string `help:"A word for the audit record." default:"by the operator"`
	} `cmd:"" help:"End a device's credentials, live sessions too. It needs a new claim to come back."`
}

func (v *deviceCmd) Run(c *cli, command cmdName) error {
	var d admin.Device
	switch command {
	case "device show <id>":
		if err := c.do("device/show", admin.Named{Name: v.Show.ID}, &d); err != nil {
			return err
		}
		return c.table(d, "ID|"+d.ID, func(row func(...any)) {
			row("Inventory number", d.Inventory)
			row("Serial", d.Serial)
			row("Model", strings.TrimSpace(d.Manufacturer+" "+d.Model))
			row("Owner", d.Owner)
			row("School", d.School)
			row("State", string(d.State))
			row("Last contact", d.LastDay)
			row("Reports kept", d.Reports)
		})
	case "device set <id>":
		if err := c.do("device/set", admin.Inventory{Device: v.Set.ID, Number: v.Set.Inventory}, &d); err != nil {
			return err
		}
		return c.show(d, "Done.\n")
	case "device revoke <id>":
		if err := c.do("device/revoke", admin.Named{Name: v.Revoke.ID, Reason: v.Revoke.Reason}, &admin.None{}); err != nil {
			return err
		}
		return c.show(map[string]string{"revoked": v.Revoke.ID}, "Revoked. What it told is deleted after 30 days, unless it is enrolled again.\n")
	}
	return v.list(c)
}

func (v *deviceCmd) list(c *cli) error {
	list := admin.DeviceList{Items: []admin.Device{}}
	filter := admin.DeviceFilter{Query: v.List.Query, State: v.List.State}
	for len(list.Items) < v.List.Limit {
		var page admin.DeviceList
		filter.Limit = min(v.List.Limit-len(list.Items), fleet.MaxLimit)
		if err := c.do("device/list", filter, &page); err != nil {
			return err
		}
		list.Items, list.Total, list.Cursor = append(list.Items, page.Items...), page.Total, page.Cursor
		if filter.Cursor = page.Cursor; filter.Cursor == "" {
			break
		}
	}
	err := c.table(list, "ID|INVENTORY|SERIAL|MODEL|SCHOOL|STATE|LAST CONTACT", func(row func(...any)) {
		for _, d := range list.Items {
			row(d.ID, d.Inventory, d.Serial, d.Model, d.School, string(d.State), d.LastDay)
		}
	})
	if err == nil && !c.JSON && int64(len(list.Items)) < list.Total {
		fmt.Fprintf(c.stderr, "%d of %d shown; see --limit.\n", len(list.Items), list.Total)
	}
	return err
}
