package devgateway

// kind is one sort of entity of the Admin API, with what Kong's DAO knows of it.
type kind struct {
	name        string
	endpointKey string            // the field that may stand in an address instead of the id
	foreign     map[string]string // field -> kind
	cascade     bool              // removed with what it refers to; otherwise what it refers to cannot be removed
	fields      string            // the schema in Kong's form
}

// kinds are in the order in which a declarative file has to be loaded: what is referred to first.
var kinds = []kind{
	{name: "services", endpointKey: "name", fields: serviceFields},
	{name: "consumers", endpointKey: "username", fields: consumerFields},
	{name: "routes", endpointKey: "name", fields: routeFields, foreign: map[string]string{"service": "services"}},
	{
		name: "plugins", endpointKey: "instance_name", fields: pluginFields, cascade: true,
		foreign: map[string]string{"service": "services", "route": "routes", "consumer": "consumers"},
	},
}

func kindOf(name string) *kind {
	for i := range kinds {
		if kinds[i].name == name {
			return &kinds[i]
		}
	}
	return nil
}

// The fields of Kong 3.9's own entities, without those that nothing here acts on (certificates,
// SNIs, stream routes).

const serviceFields = `[
	{"id": {"type": "string", "uuid": true}},
	{"created_at": {"type": "integer", "timestamp": true}},
	{"updated_at": {"type": "integer", "timestamp": true}},
	{"name": {"type": "string"}},
	{"retries": {"type": "integer", "default": 5, "between": [0, 32767]}},
	{"protocol": {"type": "string", "required": true, "default": "http", "one_of": ["grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp"]}},
	{"host": {"type": "string", "required": true}},
	{"port": {"type": "integer", "required": true, "default": 80, "between": [0, 65535]}},
	{"path": {"type": "string", "starts_with": "/"}},
	{"connect_timeout": {"type": "integer", "default": 60000, "between": [1, 2147483646]}},
	{"write_timeout": {"type": "integer", "default": 60000, "between": [1, 2147483646]}},
	{"read_timeout": {"type": "integer", "default": 60000, "between": [1, 2147483646]}},
	{"tags": {"type": "set", "elements": {"type": "string"}}},
	{"client_certificate": {"type": "foreign", "reference": "certificates"}},
	{"tls_verify": {"type": "boolean"}},
	{"tls_verify_depth": {"type": "integer", "between": [0, 64]}},
	{"ca_certificates": {"type": "array", "elements": {"type": "string", "uuid": true}}},
	{"enabled": {"type": "boolean", "required": true, "default": true}}
]`

const routeFields = `[
	{"id": {"type": "string", "uuid": true}},
	{"created_at": {"type": "integer", "timestamp": true}},
	{"updated_at": {"type": "integer", "timestamp": true}},
	{"name": {"type": "string"}},
	{"protocols": {"type": "set", "len_min": 1, "required": true, "default": ["http", "https"], "elements": {"type": "string", "one_of": ["grpc", "grpcs", "http", "https"]}}},
	{"https_redirect_status_code": {"type": "integer", "required": true, "default": 426, "one_of": [426, 301, 302, 307, 308]}},
	{"strip_path": {"type": "boolean", "required": true, "default": true}},
	{"preserve_host": {"type": "boolean", "required": true, "default": false}},
	{"request_buffering": {"type": "boolean", "required": true, "default": true}},
	{"response_buffering": {"type": "boolean", "required": true, "default": true}},
	{"tags": {"type": "set", "elements": {"type": "string"}}},
	{"service": {"type": "foreign", "reference": "services"}},
	{"snis": {"type": "set", "elements": {"type": "string"}}},
	{"sources": {"type": "set", "elements": {"type": "string"}}},
	{"destinations": {"type": "set", "elements": {"type": "string"}}},
	{"methods": {"type": "set", "elements": {"type": "string"}}},
	{"hosts": {"type": "array", "elements": {"type": "string"}}},
	{"paths": {"type": "array", "elements": {"type": "string"}}},
	{"headers": {"type": "map", "keys": {"type": "string"}, "values": {"type": "array", "elements": {"type": "string"}}}},
	{"regex_priority": {"type": "integer", "default": 0}},
	{"path_handling": {"type": "string", "default": "v0", "one_of": ["v0", "v1"]}}
]`

const consumerFields = `[
	{"id": {"type": "string", "uuid": true}},
	{"created_at": {"type": "integer", "timestamp": true}},
	{"updated_at": {"type": "integer", "timestamp": true}},
	{"username": {"type": "string"}},
	{"custom_id": {"type": "string"}},
	{"tags": {"type": "set", "elements": {"type": "string"}}}
]`

// pluginFields lacks config, which comes from the plugin's dump, as do its consumer and protocols.
const pluginFields = `[
	{"id": {"type": "string", "uuid": true}},
	{"name": {"type": "string", "required": true}},
	{"instance_name": {"type": "string"}},
	{"created_at": {"type": "integer", "timestamp": true}},
	{"updated_at": {"type": "integer", "timestamp": true}},
	{"route": {"type": "foreign", "reference": "routes"}},
	{"service": {"type": "foreign", "reference": "services"}},
	{"consumer": {"type": "foreign", "reference": "consumers"}},
	{"config": {"type": "record", "fields": []}},
	{"protocols": {"type": "set", "required": true, "default": ["grpc", "grpcs", "http", "https"], "elements": {"type": "string", "one_of": ["grpc", "grpcs", "http", "https"]}}},
	{"enabled": {"type": "boolean", "required": true, "default": true}},
	{"tags": {"type": "set", "elements": {"type": "string"}}}
]`
