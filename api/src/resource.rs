//! Kubernetes objects around our specs and statuses.

/// Version of every kind.
pub const VERSION: &str = "v1alpha1";

/// Declares the object around a spec, and a status if there is one.
///
/// Not `kube`'s derive, because that refuses an object without a `spec`. KubeStash's own definitions accept such
/// an object, and one object that cannot be read would keep a watch from seeing all others.
macro_rules! resource {
    (
        $(#[$attribute:meta])*
        $kind:ident {
            group: $group:literal, plural: $plural:literal, scope: $scope:ident,
            spec: $spec:ty $(, status: $status:ty)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        pub struct $kind {
            /// Name, namespace, labels and the like.
            #[serde(default)]
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            /// What is wanted.
            #[serde(default)]
            pub spec: $spec,
            $(
                /// What is known.
                pub status: Option<$status>,
            )?
        }

        impl $kind {
            /// Group and version, as objects write them.
            pub const API_VERSION: &'static str = concat!($group, "/v1alpha1");
            /// Name of the kind.
            pub const KIND: &'static str = stringify!($kind);

            /// An object of this name.
            pub fn new(name: &str, spec: $spec) -> Self {
                let mut object = Self { spec, ..Self::default() };
                object.metadata.name = Some(name.to_owned());
                object
            }
        }

        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct as _;
                let mut object = serializer.serialize_struct(Self::KIND, 5)?;
                object.serialize_field("apiVersion", Self::API_VERSION)?;
                object.serialize_field("kind", Self::KIND)?;
                object.serialize_field("metadata", &self.metadata)?;
                object.serialize_field("spec", &self.spec)?;
                $(
                    const _: Option<$status> = None;
                    match &self.status {
                        Some(status) => object.serialize_field("status", status)?,
                        None => object.skip_field("status")?,
                    }
                )?
                object.end()
            }
        }

        impl kube::Resource for $kind {
            type DynamicType = ();
            type Scope = crate::resource::$scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                Self::KIND.into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                crate::resource::VERSION.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }

        impl kube::core::object::HasSpec for $kind {
            type Spec = $spec;

            fn spec(&self) -> &$spec {
                &self.spec
            }

            fn spec_mut(&mut self) -> &mut $spec {
                &mut self.spec
            }
        }

        $(
            impl kube::core::object::HasStatus for $kind {
                type Status = $status;

                fn status(&self) -> Option<&$status> {
                    self.status.as_ref()
                }

                fn status_mut(&mut self) -> &mut Option<$status> {
                    &mut self.status
                }
            }
        )?
    };
}

/// Scopes by the words of a CustomResourceDefinition.
pub(crate) use kube::core::{
    ClusterResourceScope as Cluster, NamespaceResourceScope as Namespaced,
};
pub(crate) use resource;
