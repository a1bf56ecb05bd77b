"""What the cloud does with Terraform's resources: makes, changes and deletes them, or refuses."""

from typing import Any

from deploy.gcp.offline.cloud import Project, Refused, Values, step

_SERVICES = {
    "google_artifact_registry_": "artifactregistry",
    "google_compute_": "compute",
    "google_sql_": "sqladmin",
    "google_service_networking_": "servicenetworking",
    "google_secret_manager_": "secretmanager",
    "google_service_account": "iam",
    "google_storage_": "storage",
    "google_monitoring_": "monitoring",
    "google_project_iam_": "cloudresourcemanager",
}
# Steps at which a run is to end: one resource of each kind that has an order of its own.
ENDS_AT = (
    "google_service_networking_connection",
    "google_sql_database_instance",
    "google_secret_manager_secret_version",
    "google_compute_instance",
    "google_compute_instance_group_manager",
)
# Changing one of these replaces the resource (ForceNew).
_FIXED = ("name", "name_prefix", "network", "zone", "region", "account_id", "secret_id", "type")
_SQL, _DISK, _MACHINE = (
    "google_sql_database_instance",
    "google_compute_disk",
    "google_compute_instance",
)
_GROUP, _TEMPLATE = "google_compute_instance_group_manager", "google_compute_instance_template"
_REGISTRY = "google_artifact_registry_repository"
_NETWORK, _CONNECTION = "google_compute_network", "google_service_networking_connection"


def key_of(kind: str, values: Values) -> str:
    """Return what the API knows a resource by: its id where Google chooses the name."""
    id_fields = {
        "google_service_account": "account_id",
        "google_secret_manager_secret": "secret_id",
        _REGISTRY: "repository_id",
    }
    has_name = kind.startswith(("google_compute_", "google_sql_"))
    return f"{kind}/{values[id_fields.get(kind, 'name' if has_name else 'id')]}"


def fill(project: Project, kind: str, values: Values) -> None:
    """Set those results of a new resource that others refer to."""
    values["id"] = f"{kind}-{project.number()}"
    if kind == "google_service_account":
        values["email"] = f"{values['account_id']}@project.iam.gserviceaccount.com"
        values["member"] = f"serviceAccount:{values['email']}"
    elif kind == _TEMPLATE:
        values["name"] = f"{values['name_prefix']}{project.number()}"
        values["self_link_unique"] = f"templates/{values['name']}"
    elif kind == _NETWORK:
        values["id"] = values["name"]
    elif kind == _REGISTRY:
        values["name"] = values["repository_id"]
    elif kind == "google_secret_manager_secret":
        values["id"] = f"projects/p/secrets/{values['secret_id']}"


def replaced_by(kind: str, prior: Values, planned: Values) -> list[str]:
    """Return the attributes whose change forces a replacement of the resource (ForceNew)."""
    changed = [name for name in _FIXED if name in prior and prior[name] != planned.get(name)]
    if kind == _TEMPLATE and any(prior.get(n) != planned.get(n) for n in ("machine_type", "disk")):
        changed.append("machine_type")
    if kind == _DISK and planned["size"] < prior["size"]:
        changed.append("size")
    if kind == _SQL and _disk_size(planned) < _disk_size(prior):
        changed.append("settings")
    if kind == _MACHINE and _run_limit(planned) != _run_limit(prior):
        changed.append("scheduling")
    return changed


def _disk_size(values: Values) -> int:
    size = values["settings"][0]["disk_size"]
    return size if isinstance(size, int) else 0


def _run_limit(values: Values) -> Any:
    return values["scheduling"][0]["max_run_duration"]


def _check_call(project: Project, action: str, kind: str) -> None:
    service = next(api for prefix, api in _SERVICES.items() if kind.startswith(prefix))
    if project.broken:
        raise Refused("Error 503: the network is down")
    project.need_api(service)
    project.need_permission(f"{action} {kind}")
    if kind in ENDS_AT and step(project, f"{action} {kind}"):
        project.broken = True
        raise Refused("Error 403: Quota exceeded, or another failure half-way")


def create(project: Project, kind: str, values: Values) -> None:
    _check_call(project, "create", kind)
    key = key_of(kind, values)
    if key in project.resources:
        raise Refused(f"Error 409: {key} already exists")
    if "_iam_member" in kind:
        project.need_account(values["member"])
        secret = values.get("secret_id", "").rpartition("/")[2]
        if secret not in ("", "idrl-postgres-ca") and secret not in project.secrets:
            raise Refused(f"Error 404: Secret {secret} not found")
        if "bucket" in values and values["bucket"] not in project.buckets:
            raise Refused(f"Error 404: bucket {values['bucket']} does not exist")
    elif kind == "google_service_account":
        project.account_made(values["email"])
    elif kind == _CONNECTION:
        _connect(project, values)
    elif kind == _SQL:
        _make_database(project, values)
    elif kind == _MACHINE:
        project.boot(values["name"])
    project.resources[key] = values
    if kind == _GROUP:
        _resize(project, values)


def _connect(project: Project, values: Values) -> None:
    ranges = project.peerings.get(values["network"])
    if ranges not in (None, values["reserved_peering_ranges"]) and not values.get(
        "update_on_creation_fail"
    ):
        raise Refused("Cannot modify allocated ranges in CreateConnection")
    project.peerings[values["network"]] = values["reserved_peering_ranges"]


def _make_database(project: Project, values: Values) -> None:
    network = values["settings"][0]["ip_configuration"][0]["private_network"]
    if network in project.cut_networks:
        raise Refused(f"Incorrect Service Networking config: {network}:NETWORK_PEERING_DELETED")
    if network not in project.peerings:
        raise Refused("the network doesn't have at least 1 private services connection")


def _resize(project: Project, group: Values) -> None:
    """Create the missing machines of a group, and delete surplus ones."""
    names = [f"idrl-extra-worker-{number}" for number in range(int(group["target_size"] or 0))]
    for name in [name for name in project.machines if name.startswith("idrl-extra")]:
        if name not in names:
            del project.machines[name]
    for name in names:
        if name not in project.machines:
            project.boot(name)
            project.templates[name] = group["version"][0]["instance_template"]
    used = {name: project.templates[name] for name in names}
    # A machine of a group that only opportunity updates keeps its template; one that Terraform
    # does not wait for still has it when the old template is deleted.
    policy = group["update_policy"][0]
    if policy["type"] == "PROACTIVE" and group["wait_for_instances"]:
        used = dict.fromkeys(names, group["version"][0]["instance_template"])
    project.templates = used


def update(project: Project, kind: str, prior: Values, values: Values) -> None:
    _check_call(project, "update", kind)
    if kind == _SQL and _disk_size(values) < _disk_size(prior):
        raise Refused("Error 400: Disk size cannot be decreased")
    project.resources[key_of(kind, values)] = values
    if kind == _GROUP:
        _resize(project, values)


def delete(project: Project, kind: str, values: Values) -> None:
    key = key_of(kind, values)
    if values.get("deletion_policy") == "ABANDON":
        # No call is made: the peering stays, a database goes with its instance.
        project.resources.pop(key, None)
        return
    _check_call(project, "delete", kind)
    _refuse_deletion(project, kind, values, project.resources.get(key, {}))
    if kind == _MACHINE:
        project.machines.pop(values["name"], None)
    if kind == _DISK and values.get("create_snapshot_before_destroy"):
        project.snapshots.append(values["name"])
    if kind == _REGISTRY:
        project.images.clear()
    if kind == _SQL:
        project.schemas.clear()
    if kind == _GROUP:
        _resize(project, {**values, "target_size": 0})
    project.resources.pop(key, None)


def _refuse_deletion(project: Project, kind: str, values: Values, known: Values) -> None:
    protected = kind == _MACHINE and known.get("deletion_protection")
    if kind == _SQL:
        api = known and known["settings"][0]["deletion_protection_enabled"]
        protected = api or values.get("deletion_protection")
    if protected:
        raise Refused(f"Error 400: {values['name']} is protected: deletion_protection is enabled")
    used = [
        version["instance_template"]
        for group in project.of_kind(_GROUP)
        for version in group["version"]
    ]
    if kind == _TEMPLATE and values["self_link_unique"] in [*used, *project.templates.values()]:
        raise Refused("resourceInUseByAnotherResource: the template is in use")
    if kind == _NETWORK and values["name"] in project.peerings:
        raise Refused("The network resource is already being used by a peering, resourceInUse")


def refreshed(project: Project, kind: str, values: Values) -> Values | None:
    """Return what the API says of a resource that Terraform knows; None where it is gone."""
    if kind not in (_SQL, _MACHINE, _DISK, _NETWORK, _GROUP):
        return values
    return project.resources.get(key_of(kind, values))
