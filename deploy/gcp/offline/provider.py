"""The stand-in as a Terraform plugin: protocol version 6 over gRPC on a local socket."""

import json
import os
import tempfile
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from tf.gen import (
    grpc_controller_pb2 as controller,
    grpc_controller_pb2_grpc as controller_rpc,
    grpc_stdio_pb2_grpc as stdio_rpc,
    tfplugin_pb2 as protocol,
    tfplugin_pb2_grpc as rpc,
)

from deploy.gcp.offline import rules
from deploy.gcp.offline.cloud import Cloud, Refused, is_killed
from deploy.gcp.offline.schema import Attribute, Block, Schema
from deploy.gcp.offline.values import decode, encode, plan, settle

ADDRESS = "hashicorp/google"
_NESTING = {"single": 1, "list": 2, "set": 3}
# Field 11 of Attribute, `write_only`, set. The generated classes are older than it; protobuf passes
# on what it does not know.
_WRITE_ONLY = b"\x58\x01"


@contextmanager
def served(schema: Schema, cloud: Cloud | None = None) -> Iterator[dict[str, str]]:
    """Serve the stand-in, and yield the variables that make Terraform use it as the provider."""
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/provider.sock"
        server = grpc.server(futures.ThreadPoolExecutor(8))
        rpc.add_ProviderServicer_to_server(Provider(schema, cloud), server)
        controller_rpc.add_GRPCControllerServicer_to_server(_Controller(), server)
        stdio_rpc.add_GRPCStdioServicer_to_server(_Stdio(), server)
        server.add_insecure_port(f"unix://{socket}")
        server.start()
        address = {"Network": "unix", "String": socket}
        plugin = {
            "Protocol": "grpc",
            "ProtocolVersion": 6,
            "Pid": os.getpid(),
            "Test": True,
            "Addr": address,
        }
        yield {"TF_REATTACH_PROVIDERS": json.dumps({ADDRESS: plugin})}
        server.stop(0)


def encode_schema(block: Block) -> Any:
    return protocol.Schema(version=0, block=_encode_block(block))


def _encode_block(block: Block) -> Any:
    return protocol.Schema.Block(
        attributes=[
            _encode_attribute(name, value) for name, value in sorted(block.attributes.items())
        ],
        block_types=[
            protocol.Schema.NestedBlock(
                type_name=name,
                block=_encode_block(nested.block),
                nesting=_NESTING[nested.nesting],
                min_items=nested.min_items,
                max_items=nested.max_items,
            )
            for name, nested in sorted(block.blocks.items())
        ],
    )


def _encode_attribute(name: str, attribute: Attribute) -> Any:
    encoded = protocol.Schema.Attribute(
        name=name,
        type=json.dumps(attribute.type).encode(),
        required=attribute.required,
        optional=attribute.optional,
        computed=attribute.computed,
    )
    if attribute.write_only:
        encoded.MergeFromString(_WRITE_ONLY)
    return encoded


def _value(value: Any) -> Any:
    return protocol.DynamicValue(msgpack=encode(value))


class Provider(rpc.ProviderServicer):  # type: ignore[misc] # the generated classes have no types
    """Answers as a provider that takes every value of the right type. Method names are the
    protocol's. With a cloud, resources are made there, and refused by its rules."""

    def __init__(self, schema: Schema, cloud: Cloud | None) -> None:
        self._schema = schema
        self._cloud = cloud

    def GetMetadata(self, request: Any, context: Any) -> Any:
        metadata = protocol.GetMetadata
        return metadata.Response(
            resources=[
                metadata.ResourceMetadata(type_name=name) for name in self._schema.resources
            ],
            data_sources=[
                metadata.DataSourceMetadata(type_name=name) for name in self._schema.data_sources
            ],
        )

    def GetProviderSchema(self, request: Any, context: Any) -> Any:
        return protocol.GetProviderSchema.Response(
            provider=encode_schema(self._schema.provider),
            resource_schemas={
                name: encode_schema(block) for name, block in self._schema.resources.items()
            },
            data_source_schemas={
                name: encode_schema(block) for name, block in self._schema.data_sources.items()
            },
        )

    def ValidateProviderConfig(self, request: Any, context: Any) -> Any:
        return protocol.ValidateProviderConfig.Response()

    def ConfigureProvider(self, request: Any, context: Any) -> Any:
        return protocol.ConfigureProvider.Response()

    def ValidateResourceConfig(self, request: Any, context: Any) -> Any:
        return protocol.ValidateResourceConfig.Response()

    def ValidateDataResourceConfig(self, request: Any, context: Any) -> Any:
        return protocol.ValidateDataResourceConfig.Response()

    def GetFunctions(self, request: Any, context: Any) -> Any:
        return protocol.GetFunctions.Response()

    def UpgradeResourceState(self, request: Any, context: Any) -> Any:
        state = protocol.DynamicValue(json=request.raw_state.json)
        return protocol.UpgradeResourceState.Response(upgraded_state=state)

    def ReadResource(self, request: Any, context: Any) -> Any:
        state = decode(request.current_state.msgpack)
        if self._cloud:
            state = rules.refreshed(self._cloud.read(), request.type_name, state)
        return protocol.ReadResource.Response(new_state=_value(state), private=request.private)

    def PlanResourceChange(self, request: Any, context: Any) -> Any:
        block = self._schema.resources[request.type_name]
        proposed, prior = (
            decode(request.proposed_new_state.msgpack),
            decode(request.prior_state.msgpack),
        )
        planned = plan(proposed, block, prior)
        replaced = []
        if self._cloud and prior and planned:
            replaced = rules.replaced_by(request.type_name, prior, planned)
        step = protocol.AttributePath.Step
        return protocol.PlanResourceChange.Response(
            planned_state=_value(planned),
            requires_replace=[
                protocol.AttributePath(steps=[step(attribute_name=name)]) for name in replaced
            ],
        )

    def ApplyResourceChange(self, request: Any, context: Any) -> Any:
        kind, prior = request.type_name, decode(request.prior_state.msgpack)
        planned = decode(request.planned_state.msgpack)
        try:
            state = self._apply(kind, prior, planned)
            self._set_password(kind, prior, state, decode(request.config.msgpack))
        except Refused as refused:
            problem = protocol.Diagnostic(severity=protocol.Diagnostic.ERROR, summary=str(refused))
            return protocol.ApplyResourceChange.Response(
                new_state=request.prior_state, diagnostics=[problem]
            )
        return protocol.ApplyResourceChange.Response(new_state=_value(state))

    def _apply(self, kind: str, prior: Any, planned: Any) -> Any:
        block = self._schema.resources[kind]
        if self._cloud is None:
            return settle(planned, block)
        label = f"{'delete' if planned is None else 'update' if prior else 'create'} {kind}"
        with self._cloud.change() as project:
            if is_killed(project.killed_before, label):
                self._cloud.kill_terraform()
                raise Refused("killed before it was made")
            if is_killed(project.killed_after, label):
                self._cloud.kill_terraform()
            if planned is None:
                rules.delete(project, kind, prior)
                return None
            if prior is None:
                rules.fill(project, kind, planned)
            state = settle(planned, block)
            if prior is None:
                rules.create(project, kind, state)
            else:
                rules.update(project, kind, prior, state)
            return state

    def _set_password(self, kind: str, prior: Any, state: Any, config: Any) -> None:
        """Give the database the password, as Google's provider does: only with another version."""
        version = "password_wo_version"
        if self._cloud is None or kind != "google_sql_user" or state is None:
            return
        if prior is None or prior[version] != state[version]:
            with self._cloud.change() as project:
                project.owner_password = config["password_wo"]

    def ImportResourceState(self, request: Any, context: Any) -> Any:
        resources = self._cloud.read().resources if self._cloud else {}
        state = resources[f"{request.type_name}/{request.id}"]
        imported = protocol.ImportResourceState.ImportedResource(
            type_name=request.type_name, state=_value(state)
        )
        return protocol.ImportResourceState.Response(imported_resources=[imported])

    def ReadDataSource(self, request: Any, context: Any) -> Any:
        block = self._schema.data_sources[request.type_name]
        state = settle(decode(request.config.msgpack), block, read=True)
        return protocol.ReadDataSource.Response(state=_value(state))

    def StopProvider(self, request: Any, context: Any) -> Any:
        return protocol.StopProvider.Response()


class _Controller(controller_rpc.GRPCControllerServicer):  # type: ignore[misc] # as above
    def Shutdown(self, request: Any, context: Any) -> Any:
        return controller.Empty()


class _Stdio(stdio_rpc.GRPCStdioServicer):  # type: ignore[misc] # as above
    def StreamStdio(self, request: Any, context: Any) -> Any:
        return iter([])
