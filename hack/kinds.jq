# Of Kubernetes' swagger.json: for each of $kinds a line `KIND-GROUP-VERSION<tab>SCHEMA`, named as kubeconform looks for it. A
# schema takes no field that the kind does not have, since a misspelt one would be dropped without a word.
def plain: del(.format) | if has("properties") then .additionalProperties = false else . end
  | if has("items") then .items |= plain else . end
  | if has("properties") then .properties |= map_values(plain) else . end
  | if (.additionalProperties | type) == "object" then .additionalProperties |= plain else . end;
def is_ours: startswith("io.k8s.apiextensions-apiserver.") | not;
($kinds | split(" ")) as $wanted
| (.definitions | with_entries(select(.key | is_ours)) | map_values(plain)
   | .["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] = {type: ["string", "integer"]}
   | .["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {type: ["string", "number"]}) as $all
| .definitions | to_entries[] | select(.key | is_ours) | .key as $key
| (.value["x-kubernetes-group-version-kind"] // []) | select(length == 1) | .[0]
| select(.kind as $kind | $wanted | index($kind))
| (if .group == "" then "" else "\(.group | split(".")[0])-" end) as $group
| "\(.kind | ascii_downcase)-\($group)\(.version)\t\({"$ref": "#/definitions/\($key)", definitions: $all} | tojson)"
