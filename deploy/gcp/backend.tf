# The state is in a bucket of the project, which the script up makes and the script tf names.
terraform {
  backend "gcs" {
    prefix = "idrl"
  }
}
