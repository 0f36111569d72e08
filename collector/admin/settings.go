package admin

import (
	"context"

	"hausmeister/collector/health"
)

// Software is a program of an owner's standard software.
type Software struct {
	Owner        string   `json:"owner"`
	Label        string   `json:"label,omitempty"`
	Names        []string `json:"names,omitempty"`
	LeastVersion string   `json:"least_version,omitempty"`
}

func (s *Server) setSoftware(ctx context.Context, in Software) (None, error) {
	owner, _, err := s.cfg.Fleet.Place(ctx, operator, in.Owner, "")
	if err != nil {
		return None{}, err
	}
	err = s.cfg.Health.SetStandard(ctx, operator, owner, health.Standard{Label: in.Label, Names: in.Names, LeastVersion: in.LeastVersion})
	return None{}, err
}

func (s *Server) removeSoftware(ctx context.Context, in Software) (None, error) {
	owner, _, err := s.cfg.Fleet.Place(ctx, operator, in.Owner, "")
	if err != nil {
		return None{}, err
	}
	return None{}, s.cfg.Health.RemoveStandard(ctx, operator, owner, in.Label)
}

// software lists the programs of one owner, or of all.
func (s *Server) software(ctx context.Context, in Software) ([]Software, error) {
	owners, err := s.cfg.Fleet.Owners(ctx, operator)
	if err != nil {
		return nil, err
	}
	only := ""
	if in.Owner != "" {
		if only, _, err = s.cfg.Fleet.Place(ctx, operator, in.Owner, ""); err != nil {
			return nil, err
		}
	}
	out := []Software{}
	for _, o := range owners {
		if only != "" && o.ID != only {
			continue
		}
		list, err := s.cfg.Health.Standard(ctx, operator, o.ID)
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			out = append(out, Software{Owner: o.Name, Label: p.Label, Names: p.Names, LeastVersion: p.LeastVersion})
		}
	}
	return out, nil
}
