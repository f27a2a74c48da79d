package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/gateway-api-inference-extension/apix/v1alpha2"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/config/loader"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/datalayer"
	fwkdl "sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/interface/datalayer"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/interface/plugin"
	extractor "sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/plugins/datalayer/extractor/metrics"
	source "sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/plugins/datalayer/source/metrics"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/plugins/flowcontrol/fairness"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/plugins/flowcontrol/ordering"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/plugins/flowcontrol/saturationdetector/utilization"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/plugins/flowcontrol/usagelimits"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/plugins/requestcontrol/dataproducer/approximateprefix"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/plugins/requesthandling/parsers/openai"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/plugins/scheduling/picker"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/plugins/scheduling/profile"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/plugins/scheduling/scorer/kvcacheutilization"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/plugins/scheduling/scorer/loraaffinity"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/plugins/scheduling/scorer/prefix"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/plugins/scheduling/scorer/queuedepth"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/handlers"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/requestcontrol"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/scheduling"
)

// The picker's own configuration, and the scorer for adapters, which its guide adds.
const pickerConfig = `
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
- type: lora-affinity-scorer
- type: metrics-data-source
- type: core-metrics-extractor
schedulingProfiles:
- name: default
  plugins:
  - { pluginRef: queue-scorer, weight: 2 }
  - { pluginRef: kv-cache-utilization-scorer, weight: 2 }
  - { pluginRef: prefix-cache-scorer, weight: 3 }
  - { pluginRef: lora-affinity-scorer, weight: 2 }
`

// How often the picker reads metrics.
const pollInterval = 50 * time.Millisecond
const maxFirstTries = 200

func registerPlugins() {
	plugin.Register(queuedepth.QueueScorerType, queuedepth.QueueScorerFactory)
	plugin.Register(kvcacheutilization.KvCacheUtilizationScorerType, kvcacheutilization.KvCacheUtilizationScorerFactory)
	plugin.Register(prefix.PrefixCacheScorerPluginType, prefix.PrefixCachePluginFactory)
	plugin.Register(loraaffinity.LoraAffinityScorerType, loraaffinity.LoraAffinityScorerFactory)
	plugin.Register(approximateprefix.ApproxPrefixCachePluginType, approximateprefix.ApproxPrefixCacheFactory)
	plugin.Register(picker.MaxScorePickerType, picker.MaxScorePickerFactory)
	plugin.Register(profile.SingleProfileHandlerType, profile.SingleProfileHandlerFactory)
	plugin.Register(source.MetricsDataSourceType, source.MetricsDataSourceFactory)
	plugin.Register(extractor.MetricsExtractorType, extractor.CoreMetricsExtractorFactory)
	plugin.Register(openai.OpenAIParserType, openai.OpenAIParserPluginFactory)
	plugin.Register(utilization.UtilizationDetectorType, utilization.UtilizationDetectorFactory)
	plugin.Register(fairness.GlobalStrictFairnessPolicyType, fairness.GlobalStrictFairnessPolicyFactory)
	plugin.Register(ordering.FCFSOrderingPolicyType, ordering.FCFSOrderingPolicyFactory)
	plugin.Register(usagelimits.StaticUsageLimitPolicyType, usagelimits.StaticPolicyFactory)
}

// The pods of a pool, as Kubernetes would list them.
type pods struct{ endpoints []fwkdl.Endpoint }

func (p *pods) PoolGet() (*datalayer.EndpointPool, error) { return &datalayer.EndpointPool{}, nil }

func (p *pods) ObjectiveGet(string) *v1alpha2.InferenceObjective { return nil }

func (p *pods) ModelRewriteGet(string) (*v1alpha2.InferenceModelRewriteRule, string) { return nil, "" }

func (p *pods) PodList(isWanted func(fwkdl.Endpoint) bool) []fwkdl.Endpoint {
	found := []fwkdl.Endpoint{}
	for _, endpoint := range p.endpoints {
		if isWanted(endpoint) {
			found = append(found, endpoint)
		}
	}
	return found
}

func (p *pods) Locate(context.Context, map[string]any) []fwkdl.Endpoint { return p.endpoints }

func (p *pods) names() []types.NamespacedName {
	names := []types.NamespacedName{}
	for _, endpoint := range p.endpoints {
		names = append(names, endpoint.GetMetadata().NamespacedName)
	}
	return names
}

// Admits every request: the servers have their own queues.
type admitsAll struct{}

func (admitsAll) Admit(context.Context, *handlers.RequestContext, int) error { return nil }

// serveProxy forwards each request to the server that the picker's director chooses. A server is HOST:PORT/METRICSPORT.
// Prints its own address, and never returns.
func serveProxy(servers []string) error {
	ctx := context.Background()
	registerPlugins()
	pool := &pods{}
	for i, server := range servers {
		address, metricsPort, _ := strings.Cut(server, "/")
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return err
		}
		name := types.NamespacedName{Namespace: "default", Name: fmt.Sprintf("server-%d", i)}
		pool.endpoints = append(pool.endpoints, fwkdl.NewEndpoint(&fwkdl.EndpointMetadata{
			NamespacedName: name, PodName: name.Name, Address: host, Port: port,
			MetricsHost: net.JoinHostPort(host, metricsPort),
		}, nil))
	}
	director, err := newDirector(ctx, pool)
	if err != nil {
		return err
	}
	if err := pollMetrics(ctx, pool.endpoints); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())
	return http.Serve(listener, &forwarder{director: director})
}

func newDirector(ctx context.Context, pool *pods) (*requestcontrol.Director, error) {
	logger := log.FromContext(ctx)
	raw, _, err := loader.LoadRawConfig([]byte(pickerConfig), logger)
	if err != nil {
		return nil, err
	}
	handle := plugin.NewEppHandle(ctx, pool.names)
	config, err := loader.InstantiateAndConfigure(raw, handle, logger)
	if err != nil {
		return nil, err
	}
	control := requestcontrol.NewConfig()
	control.AddPlugins(handle.GetAllPlugins()...)
	order, err := datalayer.ValidateAndOrderDataDependencies(handle.GetAllPlugins())
	if err != nil {
		return nil, err
	}
	control.OrderPrepareDataPlugins(order)
	scheduler := scheduling.NewSchedulerWithConfig(config.SchedulerConfig)
	parser := handlers.NewParser(config.ParserConfig)
	return requestcontrol.NewDirectorWithConfig(pool, scheduler, admitsAll{}, parser, pool, control), nil
}

// pollMetrics reads the metrics of every server once, then again and again.
func pollMetrics(ctx context.Context, endpoints []fwkdl.Endpoint) error {
	plugin, err := extractor.CoreMetricsExtractorFactory("metrics", nil, nil)
	if err != nil {
		return err
	}
	read := func(endpoint fwkdl.Endpoint) error {
		response, err := http.Get("http://" + endpoint.GetMetadata().MetricsHost + "/metrics")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(response.Body)
		if err != nil {
			return err
		}
		return plugin.(*extractor.Extractor).Extract(ctx, families, endpoint)
	}
	for _, endpoint := range endpoints {
		// A busy server leaves out figures, and shows them the next time.
		for tries := 0; ; tries++ {
			err := read(endpoint)
			if err == nil {
				break
			}
			if tries == maxFirstTries {
				return err
			}
			time.Sleep(pollInterval)
		}
		go func() {
			for range time.Tick(pollInterval) {
				_ = read(endpoint)
			}
		}()
	}
	return nil
}

type forwarder struct {
	director *requestcontrol.Director
	requests atomic.Int64
}

func (f *forwarder) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return
	}
	id := strconv.FormatInt(f.requests.Add(1), 10)
	chosen, err := f.director.HandleRequest(request.Context(), &handlers.RequestContext{
		RequestSize: len(body),
		Request: &handlers.Request{
			Headers:  map[string]string{"x-request-id": id, ":path": request.URL.Path},
			RawBody:  body,
			Metadata: map[string]any{},
		},
		Response: &handlers.Response{Headers: map[string]string{}},
	})
	if err != nil {
		http.Error(writer, err.Error(), http.StatusServiceUnavailable)
		return
	}
	url := "http://" + chosen.TargetEndpoint + request.URL.Path
	response, err := http.Post(url, "application/json", bytes.NewReader(chosen.Request.RawBody))
	if err != nil {
		http.Error(writer, err.Error(), http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	writer.Header().Set("content-type", response.Header.Get("content-type"))
	writer.WriteHeader(response.StatusCode)
	_, _ = io.Copy(writer, response.Body)
}
