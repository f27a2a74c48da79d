// What the endpoint picker of the Gateway API Inference Extension makes of a model server, by its own code.
//
//	metrics MODEL…   reads /metrics from standard input; prints the endpoint as it is known to the picker's plugins,
//	                 and by its LoRA affinity how well it suits each model
//	proxy SERVER…    forwards requests to the servers that the picker's director chooses (proxy.go)
//	pool             reads an InferencePool from standard input, strictly; prints it as it was understood
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	inference "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/interface/datalayer"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/interface/scheduling"
	extractor "sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/plugins/datalayer/extractor/metrics"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/plugins/scheduling/scorer/loraaffinity"
	"sigs.k8s.io/yaml"
)

type seen struct {
	Metrics *datalayer.Metrics
	// By model: 1 it is there, 0.8 there is room, 0.6 it is waited for, 0 neither.
	Affinity map[string]float64
}

func main() {
	if err := run(os.Args[1:], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string, input io.Reader) error {
	if len(args) == 0 {
		return errors.New("metrics MODEL…, proxy SERVER… or pool")
	}
	switch args[0] {
	case "proxy":
		return serveProxy(args[1:])
	case "metrics":
		endpoint, err := readMetrics(input, args[1:])
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(endpoint)
	case "pool":
		text, err := io.ReadAll(input)
		if err != nil {
			return err
		}
		var pool inference.InferencePool
		if err := yaml.UnmarshalStrict(text, &pool); err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(pool)
	}
	return fmt.Errorf("%s: no such command", args[0])
}

func readMetrics(input io.Reader, models []string) (*seen, error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(input)
	if err != nil {
		return nil, err
	}
	// The plugin as it is without any configuration.
	plugin, err := extractor.CoreMetricsExtractorFactory("metrics", nil, nil)
	if err != nil {
		return nil, err
	}
	metadata := &datalayer.EndpointMetadata{}
	endpoint := datalayer.NewEndpoint(metadata, nil)
	if err := plugin.(*extractor.Extractor).Extract(context.Background(), families, endpoint); err != nil {
		return nil, err
	}
	scorer := loraaffinity.NewLoraAffinityScorer()
	candidate := scheduling.NewEndpoint(metadata, endpoint.GetMetrics(), endpoint.GetAttributes())
	affinity := map[string]float64{}
	for _, name := range models {
		request := &scheduling.LLMRequest{TargetModel: name}
		scores := scorer.Score(context.Background(), scheduling.NewCycleState(), request, []scheduling.Endpoint{candidate})
		affinity[name] = scores[candidate]
	}
	return &seen{endpoint.GetMetrics(), affinity}, nil
}
