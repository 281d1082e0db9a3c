/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vacceld: the daemon of one tenant. Started by people and service managers it is the supervisor; the supervisor starts
 * the same program as its worker. Read supervisor.h and worker.h next.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/options.h"
#include "daemon/supervisor.h"
#include "daemon/worker.h"
#include "util/log.h"

/* As the vhost-user specification's back-end program conventions have it. */
static int print_capabilities(const struct device *device)
{
	struct json_object *object = json_object_new_object();
	struct json_object *features = json_object_new_array();

	json_object_object_add(object, "type", json_object_new_string(device->name));
	json_object_object_add(object, "features", features);
	printf("%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY));
	json_object_put(object);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct options options;

	if (options_parse(argc, argv, &options) < 0)
		return 2;
	if (options.help) {
		options_usage();
		return EXIT_SUCCESS;
	}
	if (options.version) {
		printf("vacceld %s\n", VACCEL_BUILD_VERSION);
		return EXIT_SUCCESS;
	}
	if (options.print_capabilities)
		return print_capabilities(options.device);
	log_open(options.worker ? "vacceld-worker" : "vacceld", options.log_level);
	if (options.log_json)
		log_use_json();
	return options.worker ? worker_run(&options) : supervisor_run(&options);
}
